"""Does everything on one connection: with "observing" what changes something has to be refused, with "everything" not."""
import datetime
import sys

import snap7
from snap7.type import Block

client = snap7.client.Client()
client.connect("127.0.0.1", 0, 1, int(sys.argv[1]))
may = sys.argv[2] == "everything"


def reads():
    assert len(client.db_read(1, 0, 4)) == 4
    assert client.get_cpu_state() is not None
    assert client.get_connected()


def changes(name, asking):
    try:
        # Some of these raise, some return the error.
        code = asking() or 0
        words = str(client.error_text(code))
    except RuntimeError as error:
        code, words = 1, str(error)
    print(name, code, words, flush=True)
    assert (code == 0) == may, name
    assert may or "CPU" in words, name
    reads()


reads()
client.get_cpu_info()
client.list_blocks()
client.list_blocks_of_type(Block.DB, 10)
client.get_block_info(Block.DB, 1)
client.get_plc_datetime()
changes("write", lambda: client.db_write(1, 0, bytearray([55])))
changes("stop", client.plc_stop)
changes("hot", client.plc_hot_start)
changes("cold", client.plc_cold_start)
changes("compress", lambda: client.compress(1000))
changes("copy", lambda: client.copy_ram_to_rom(1000))
changes("delete", lambda: client.delete(Block.DB, 1))
changes("clock", lambda: client.set_plc_datetime(datetime.datetime(2026, 1, 2, 3, 4, 5)))
changes("password", lambda: client.set_session_password("secret"))
may = False
# The server itself refuses an upload, too.
changes("upload", lambda: client.full_upload(Block.DB, 1) and 0)
reads()
client.disconnect()
print("as it should be")
