"""A server that speaks HTTP/2 frame by frame, as a test tells it: correct, slow or hostile."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from gateway.http2 import Channel, Limits, frames, hpack
from gateway.http2.messages import prefixed

HEADERS = b"".join(hpack.encoded(*header) for header in ((":status", "200"), ("content-type", "application/grpc")))


def trailers(status: int = 0, **others: str) -> bytes:
    block = hpack.encoded("grpc-status", str(status))
    return block + b"".join(hpack.encoded(name.replace("_", "-"), value) for name, value in others.items())


def headers(stream: int, block: bytes = HEADERS, *, end: bool = False) -> bytes:
    return frames.frame(frames.HEADERS, frames.END_HEADERS | (frames.END_STREAM if end else 0), stream, block)


def data(stream: int, payload: bytes) -> bytes:
    return frames.frame(frames.DATA, 0, stream, payload)


def answer(stream: int, message: bytes) -> bytes:
    """Returns a whole answer of one message."""
    return headers(stream) + data(stream, prefixed(message)) + headers(stream, trailers(), end=True)


class Peer:
    """One connection of the client, seen from the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._rest = b""
        self._frames: list[frames.Frame] = []

    async def begin(self, settings: bytes | None = None) -> None:
        """Reads the preface and sends SETTINGS."""
        assert await self._reader.readexactly(len(frames.PREFACE)) == frames.PREFACE
        self.send(frames.settings({}) if settings is None else settings)

    def send(self, written: bytes) -> None:
        self._writer.write(written)

    async def next(self) -> frames.Frame:
        """Returns the next frame."""
        while not self._frames:
            received = await self._reader.read(65_536)
            if not received:
                raise ConnectionResetError("the client closed")
            self._frames, self._rest = frames.split(self._rest + received, 2**24)
        return self._frames.pop(0)

    async def sees(self, kind: int) -> frames.Frame:
        """Returns the next frame of a kind; those before it are dropped."""
        while (found := await self.next())[0] != kind:
            pass
        return found

    async def call(self) -> int:
        """Returns the stream of the next call."""
        return (await self.sees(frames.HEADERS))[2]

    async def until_closed(self) -> None:
        while await self._reader.read(65_536):
            pass

    def close(self) -> None:
        self._writer.close()


Script = Callable[[Peer], Awaitable[None]]


@asynccontextmanager
async def scripted(script: Script, limits: Limits | None = None) -> AsyncIterator[Channel]:
    """Runs a server that does what the script says on each connection, and a channel to it."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await script(Peer(reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        async with Channel(f"127.0.0.1:{port}", limits=limits) as channel:
            yield channel
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
