"""Hooks for schemathesis: it asks in the name of somebody who signed in with `holdpoint login`, each request signed as the
gate's own client signs it.

    PROFILE   the folder with token.json and the key
    KEY       the key's file name
    ADDRESS   where the face is, host:port, whatever its name
    SOURCE    from which address of this machine: who asks much from one is told to wait
"""

import atexit
import base64
import collections
import datetime
import hashlib
import json
import os
import pathlib
import socket
import struct

import schemathesis
import urllib3.util.connection
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key
from requests.auth import AuthBase

folder = pathlib.Path(os.environ["PROFILE"])
held = json.loads((folder / "token.json").read_text())
key = load_ssh_private_key((folder / os.environ["KEY"]).read_bytes(), password=None)
host, port = os.environ["ADDRESS"].rsplit(":", 1)


def connect(_address, timeout=None, source_address=None, socket_options=None):
    return socket.create_connection((host, int(port)), timeout or None, (os.environ["SOURCE"], 0))


urllib3.util.connection.create_connection = connect


def string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def sshsig(namespace: bytes, message: bytes) -> str:
    """As PROTOCOL.sshsig of OpenSSH says."""
    head = string(namespace) + string(b"") + string(b"sha512")
    signed = key.sign(b"SSHSIG" + head + string(hashlib.sha512(message).digest()))
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).split()[1]
    blob = b"SSHSIG" + struct.pack(">I", 1) + string(base64.b64decode(public)) + head
    blob += string(string(b"ssh-ed25519") + string(signed))
    text = base64.b64encode(blob).decode()
    lines = "\n".join(text[at : at + 70] for at in range(0, len(text), 70))
    return f"-----BEGIN SSH SIGNATURE-----\n{lines}\n-----END SSH SIGNATURE-----\n"


def moment() -> str:
    """Now, as the gate writes it: without zeros at its end."""
    now = datetime.datetime.now(datetime.timezone.utc)
    fraction = f".{now.microsecond:06}".rstrip("0").rstrip(".")
    return f"{now:%Y-%m-%dT%H:%M:%S}{fraction}Z"


class Signed(AuthBase):
    def __call__(self, request):
        body = request.body or b""
        body = body.encode() if isinstance(body, str) else body
        at, start = moment(), held["start"]
        digest = hashlib.sha256(body).hexdigest()
        parts = ["holdpoint/request/v2", request.method, request.path_url, digest, held["token_id"], at, start]
        message = json.dumps(parts, separators=(",", ":"), ensure_ascii=False).encode()
        proof = base64.b64encode(sshsig(b"holdpoint-request@v1", message).encode()).decode()
        request.headers["Authorization"] = f"Bearer {held['token']}"
        request.headers["Holdpoint-Proof"] = f"{at} {start} {proof}"
        return request


answers = collections.Counter()


@schemathesis.hook
def after_call(_context, case, response):
    answers[f"{case.operation.path} {response.status_code}"] += 1


# So that whoever reads it sees what somebody was let in to.
atexit.register(lambda: (folder / "answers.json").write_text(json.dumps(answers)))

schemathesis.auth.set_from_requests(Signed())
