"""A machine with one value that may be written; says its port, and each value that it was given."""
import asyncio
import socket

from asyncua import Server, ua

with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]


async def main():
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/plant")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    space = await server.register_namespace("urn:mill-3")
    valve = await server.nodes.objects.add_variable(ua.NodeId("valve", space), "valve", 7)
    await valve.set_writable()
    async with server:
        print("port", port, flush=True)
        known = 7
        while True:
            value = await valve.read_value()
            if value != known:
                print("valve", value, flush=True)
                known = value
            await asyncio.sleep(0.02)


asyncio.run(main())
