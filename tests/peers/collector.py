"""A collector of traces that says what it gets: collector.py CERTIFICATE KEY TOKEN [PORT]

It takes OTLP over HTTPS from whoever has the token, and reads it by OpenTelemetry's own description. Each request is one line of
JSON: its bytes in hexadecimal, and the spans in it.
"""

import json
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

certificate, key, token = sys.argv[1:4]
port = int(sys.argv[4]) if len(sys.argv) > 4 else 0


def plain(attributes):
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


def spans(request):
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield {
                    "resource": plain(resource.resource.attributes),
                    "name": span.name,
                    "trace": span.trace_id.hex(),
                    "span": span.span_id.hex(),
                    "parent": span.parent_span_id.hex(),
                    "kind": span.kind,
                    "start": span.start_time_unix_nano,
                    "end": span.end_time_unix_nano,
                    "attributes": plain(span.attributes),
                    "events": len(span.events),
                    "failed": span.status.message,
                }


class Collector(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        is_right = self.path == "/v1/traces" and self.headers["content-type"] == "application/x-protobuf"
        if self.headers["authorization"] != f"Bearer {token}":
            status = 401
        elif not is_right:
            status = 400
        else:
            status = 200
            request = ExportTraceServiceRequest.FromString(body)
            print(json.dumps({"bytes": body.hex(), "spans": list(spans(request))}), flush=True)
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", port), Collector)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
server.socket = context.wrap_socket(server.socket, server_side=True)
print("port", server.server_address[1], flush=True)
server.serve_forever()
