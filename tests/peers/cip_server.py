"""A controller with three tags; says its port."""
import socket
import sys
import threading
import time

from cpppo.server.enip.main import main

with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]


def announce():
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            time.sleep(0.05)
    print("port", port, flush=True)


threading.Thread(target=announce, daemon=True).start()
sys.exit(main(argv=["-a", f"127.0.0.1:{port}", "SCADA=INT[10]", "TEMP=REAL[4]"]))
