"""A connection that writes commands in C: redis-py's asyncio client does so in Python, at a microsecond an argument."""

from typing import Any

import hiredis
from redis.asyncio import Connection
from redis.exceptions import DataError


class PackedConnection(Connection):
    """Packs commands as redis-py's blocking client does when hiredis is there."""

    def pack_command(self, *args: Any) -> list[bytes]:
        """Returns a command in the protocol of Redis. Raises `DataError` for an argument that is no text or number."""
        name, *rest = args
        try:
            # A name may be of two words, such as `XINFO STREAM`; Redis takes them as two arguments.
            return [hiredis.pack_command((*str(name).split(), *rest))]
        except TypeError as error:
            raise DataError(f"{name}: {error}") from error
