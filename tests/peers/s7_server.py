"""A controller with one data block; says its port, and what reaches it."""
import ctypes
import socket
import time

from snap7.server import Server
from snap7.type import SrvArea

with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
server = Server(log=False)
block = (ctypes.c_uint8 * 100)()
server.register_area(SrvArea.DB, 1, block)
server.start(tcp_port=port)
print("port", port, flush=True)
while True:
    event = server.pick_event()
    if event:
        print(server.event_text(event), flush=True)
    else:
        time.sleep(0.01)
