"""Reads what it may, writes what it may not, and goes on reading, all on one connection."""
import asyncio
import sys

from pymodbus.client import AsyncModbusTcpClient


async def main(port):
    connections = []
    client = AsyncModbusTcpClient("127.0.0.1", port=port, retries=0, timeout=10, trace_connect=connections.append)
    assert await client.connect()

    async def reads(address):
        answer = await client.read_holding_registers(address, count=2, device_id=1)
        assert not answer.isError() and answer.registers == [7, 7], answer

    async def refused(asking):
        answer = await asking
        assert answer.isError() and answer.exception_code == 1, answer

    everything_refused = lambda: [
        refused(client.write_register(100, 55, device_id=1)),
        refused(client.write_registers(100, [55, 56], device_id=1)),
        refused(client.write_coil(3, True, device_id=1)),
        refused(client.write_coils(3, [True] * 10, device_id=1)),
        refused(client.mask_write_register(address=4, and_mask=0xF2, or_mask=0x25, device_id=1)),
        refused(client.readwrite_registers(read_address=3, read_count=1, address=14, values=[1], device_id=1)),
        refused(client.diag_restart_communication(True, device_id=1)),
    ]
    await reads(100)
    for asking in everything_refused():
        await asking
        await reads(100)
    answer = await client.read_holding_registers(998, count=9, device_id=1)
    assert answer.isError() and answer.exception_code == 2, answer
    assert connections == [True], connections
    client.close()
    print("as it should be")


asyncio.run(main(int(sys.argv[1])))
