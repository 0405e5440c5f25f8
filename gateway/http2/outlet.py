"""The way out of a connection: what is written within one turn of the event loop leaves with one system call."""

import asyncio


class Outlet:
    """Writes to a transport. Many calls begin in the same turn, and a system call for each costs more than the call."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._gathered: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._gathered:
            self._loop.call_soon(self.flush)
        self._gathered.append(data)

    def flush(self) -> None:
        """Writes what was gathered."""
        gathered, self._gathered = self._gathered, []
        if gathered:
            self._transport.write(b"".join(gathered))

    def close(self) -> None:
        """Closes the transport after all that was written has left."""
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        """Closes the transport at once."""
        self._gathered = []
        self._transport.abort()
