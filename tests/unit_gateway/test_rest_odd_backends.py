"""Backends that are none, or break in the middle: a clear error within the deadline, and a gateway that goes on."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from gateway.process import running
from gateway.settings import Settings
from tests.unit_gateway.schema import with_rules

RULES = with_rules(("Named", "GET", {"path": "/read"}))
SETTINGS_FRAME = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def _silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def _closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    return


async def _of_another_protocol(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(64)
    writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


async def _that_never_answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(SETTINGS_FRAME + b"\x00\x00\x00\x04\x01\x00\x00\x00\x00")
    await reader.read(-1)


async def _that_closes_upon_the_call(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(SETTINGS_FRAME + b"\x00\x00\x00\x04\x01\x00\x00\x00\x00")
    while chunk := await reader.read(4096):
        if b"\x00\x00\x00\x01" in chunk or len(chunk) > 100:  # the headers of the first stream
            return


async def _that_sends_garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(SETTINGS_FRAME)
    await reader.read(64)
    writer.write(b"\xff" * 4096)
    await reader.read(64)


async def _that_resets_the_call(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(SETTINGS_FRAME + b"\x00\x00\x00\x04\x01\x00\x00\x00\x00")
    await reader.read(64)
    writer.write(b"\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x02")  # RST_STREAM 1, INTERNAL_ERROR
    await reader.read(-1)


@asynccontextmanager
async def _before(serve: Serve) -> AsyncIterator[str]:
    """Yields the address of a gateway before a server of bytes."""
    connections: set[asyncio.Task[None]] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(asyncio.create_task(one(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        async with running(Settings(), RULES, f"127.0.0.1:{port}") as process:
            await web.TCPSite(process.runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{process.addresses[0][1]}"
    finally:
        server.close()
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


@pytest.mark.parametrize(
    "serve",
    [
        _silent,
        _closing,
        _of_another_protocol,
        _that_never_answers,
        _that_closes_upon_the_call,
        _that_sends_garbage,
        _that_resets_the_call,
    ],
    ids=lambda serve: serve.__name__.strip("_").replace("_", " "),
)
async def test_backend_that_breaks_is_an_error_of_its_own_and_no_hang(serve: Serve) -> None:
    timeout = aiohttp.ClientTimeout(total=10)
    async with _before(serve) as address, aiohttp.ClientSession(address, timeout=timeout) as client:
        for _ in range(2):
            async with client.get("/read", headers={"X-Server-Timeout": "0.5"}) as answer:
                failure = json.loads(await answer.text())
            # UNAVAILABLE or DEADLINE_EXCEEDED, or INTERNAL of the call that was reset: nothing of the gateway's own.
            assert answer.status in (502, 503, 504, 500), failure
            assert (answer.status, failure["code"]) in {(502, 13), (503, 14), (504, 4), (500, 13), (500, 2)}
            assert "the gateway failed" not in failure["message"]
        async with client.get("/healthz") as answer:
            assert answer.status == 200
