"""Commands packed in C are, byte for byte, what redis-py's own connection writes."""

from typing import Any

import pytest
from redis.asyncio import Connection
from redis.exceptions import DataError

from services.runtime.redis_connection import PackedConnection

COMMANDS: list[tuple[Any, ...]] = [
    ("PING",),
    ("XINFO STREAM", "s"),
    ("XREADGROUP", "GROUP", "g", "c", "COUNT", 10, b"BLOCK", 1000, "STREAMS", "s", ">"),
    ("EVALSHA", "0" * 40, 1, "{s}.dlq.g", b"\x00\xff\r\n", "grüße", ""),
    ("CONFIG SET", "maxmemory", 1.5),
]


@pytest.mark.parametrize("command", COMMANDS, ids=[str(command[0]) for command in COMMANDS])
def test_commands_are_packed_as_redis_py_packs_them(command: tuple[Any, ...]) -> None:
    ours, theirs = PackedConnection(), Connection()
    assert b"".join(ours.pack_command(*command)) == b"".join(theirs.pack_command(*command))


def test_argument_that_redis_has_no_form_for_is_refused() -> None:
    with pytest.raises(DataError, match="SET"):
        PackedConnection().pack_command("SET", "key", None)
