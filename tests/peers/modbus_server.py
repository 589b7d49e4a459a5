"""A controller with tables of 1000 values; says its port, and each request that reaches it."""
import asyncio

from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice


def seen(sending, pdu):
    if not sending:
        print("seen", pdu.function_code, flush=True)
    return pdu


async def main():
    bits = lambda: [SimData(0, values=False, count=1000, datatype=DataType.BITS)]
    registers = lambda value: [SimData(0, values=value, count=1000, datatype=DataType.REGISTERS)]
    device = SimDevice(1, simdata=(bits(), bits(), registers(7), registers(9)))
    server = ModbusTcpServer(device, address=("127.0.0.1", 0), trace_pdu=seen)
    await server.listen()
    print("port", server.transport.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
