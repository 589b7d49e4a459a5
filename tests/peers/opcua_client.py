"""Reads a value and writes another, at a port of this machine."""
import asyncio
import sys

from asyncua import Client


async def main():
    async with Client(f"opc.tcp://127.0.0.1:{sys.argv[1]}/plant") as client:
        valve = client.get_node("ns=2;s=valve")
        print("was", await valve.read_value())
        await valve.write_value(55)
        print("is", await valve.read_value())


asyncio.run(main())
