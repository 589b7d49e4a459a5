"""A mail server that says what it gets, one line of JSON for each mail: mail_sink.py HOW CERTIFICATE KEY USER PASSWORD

HOW is `starttls`, `implicit` or `none`. It refuses whoever is called `nobody` for good, and `later` the first time.
"""

import json
import socket
import ssl
import sys
import time

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

how, certificate, key, user, password = sys.argv[1:]


class Sink:
    def __init__(self):
        self.asked_later = False

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody@"):
            return "550 nobody of that name"
        if address.startswith("later@") and not self.asked_later:
            self.asked_later = True
            return "451 come again"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        under_tls = session.ssl is not None or how == "implicit"
        mail = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "tls": under_tls,
            "authenticated": bool(session.authenticated),
            "mail": envelope.content.decode("ascii"),
        }
        print(json.dumps(mail), flush=True)
        return "250 OK"


def authenticate(server, session, envelope, mechanism, given):
    right = given.login == user.encode() and given.password == password.encode()
    return AuthResult(success=right)


options = {}
if how != "none":
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    options = {"authenticator": authenticate, "auth_required": True}
    if how == "starttls":
        options.update(tls_context=context, require_starttls=True)
    else:
        options.update(ssl_context=context, auth_require_tls=False)
with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
controller = Controller(Sink(), hostname="127.0.0.1", port=port, **options)
controller.start()
print("port", port, flush=True)
while True:
    time.sleep(60)
