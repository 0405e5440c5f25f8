"""The HTTP/2 client with servers others wrote: gRPC's own, alone and behind Envoy."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import StatusCode, aio

from gateway.http2 import CallFailed, Channel, Unreachable
from services.contracts import DESCRIPTORS
from tests.gateway_peers.envoy_transcoder import free_port, transcoder
from tests.unit_bridge.polling import until

SOON = 10.0
MiB = 1024 * 1024


async def _echo(request: bytes, context: Any) -> bytes:
    await context.send_initial_metadata((("x-first", "1"),))
    context.set_trailing_metadata((("x-last", "2"),))
    return request


async def _fail(request: bytes, context: Any) -> bytes:
    context.set_trailing_metadata((("grpc-status-details-bin", b"\x08\x05\xff"), ("x-mesh-reason", "via_upstream")))
    await context.abort(StatusCode.NOT_FOUND, "no such thing: 100 % €\n")
    raise AssertionError


async def _hang(request: bytes, context: Any) -> bytes:
    await asyncio.Event().wait()
    return request


async def _each(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


@asynccontextmanager
async def server(port: int = 0, **options: Any) -> AsyncIterator[str]:
    serving = aio.server(options=(("grpc.max_receive_message_length", 64 * MiB),), **options)
    handlers: Any = {
        "Echo": grpc.unary_unary_rpc_method_handler(_echo),
        "Fail": grpc.unary_unary_rpc_method_handler(_fail),
        "Hang": grpc.unary_unary_rpc_method_handler(_hang),
        "Each": grpc.stream_stream_rpc_method_handler(_each),
    }
    serving.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t.T", handlers),))
    bound = serving.add_insecure_port(f"127.0.0.1:{port}")
    await serving.start()
    try:
        yield f"127.0.0.1:{bound}"
    finally:
        await serving.stop(None)


@pytest.fixture(params=["grpc", "envoy"])
async def channel(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Channel]:
    async with AsyncExitStack() as stack:
        target = await stack.enter_async_context(server())
        if request.param == "envoy":
            peer = await stack.enter_async_context(transcoder(tmp_path, DESCRIPTORS.read_bytes(), [], target))
            target = f"127.0.0.1:{peer.port}"
        yield await stack.enter_async_context(Channel(target))


async def test_calls_are_answered(channel: Channel) -> None:
    for size in (0, 1, 1000, 100_000, 5 * MiB):
        replies, call = await channel.unary("/t.T/Echo", b"x" * size, timeout_seconds=SOON)
        assert [len(reply) for reply in replies] == [size]
        assert (call.headers["x-first"], call.trailers["x-last"]) == ("1", "2")
    calls = (channel.unary("/t.T/Echo", str(n).encode(), timeout_seconds=SOON) for n in range(200))
    assert [replies[0] for replies, _ in await asyncio.gather(*calls)] == [str(n).encode() for n in range(200)]
    with pytest.raises(CallFailed) as failed:
        await channel.unary("/t.T/Fail", b"", timeout_seconds=SOON)
    assert (failed.value.code, failed.value.message) == (StatusCode.NOT_FOUND, "no such thing: 100 % €\n")
    assert failed.value.metadata["grpc-status-details-bin"] == b"\x08\x05\xff"
    with pytest.raises(CallFailed) as failed:
        await channel.unary("/t.T/None", b"", timeout_seconds=SOON)
    assert failed.value.code is StatusCode.UNIMPLEMENTED
    with pytest.raises(CallFailed) as failed:
        await channel.unary("/t.T/Hang", b"", timeout_seconds=0.1)
    assert failed.value.code is StatusCode.DEADLINE_EXCEEDED


async def test_streams_go_both_ways(channel: Channel) -> None:
    call = await channel.begin("/t.T/Each", timeout_seconds=SOON)
    await call.send(b"a")
    assert await call.read() == b"a"
    for _ in range(20):
        await call.send(b"x" * 500_000)
        assert len(await call.read() or b"") == 500_000
    call.finish_sending()
    assert await call.read() is None
    assert not call.half_closed or call.ended


async def test_packed_messages_are_understood() -> None:
    async with server(compression=grpc.Compression.Gzip) as target, Channel(target) as channel:
        replies, call = await channel.unary("/t.T/Echo", b"x" * 100_000, timeout_seconds=SOON)
    assert replies == [b"x" * 100_000]
    assert call.headers["grpc-encoding"] == "gzip"


async def test_channel_is_there_again_after_its_server() -> None:
    port = free_port()
    async with Channel(f"127.0.0.1:{port}") as channel:
        with pytest.raises(Unreachable):
            await channel.unary("/t.T/Echo", b"a", timeout_seconds=SOON)
        for _ in range(2):
            async with server(port):
                await until(partial(channel.ready, 1), "the channel")
                assert (await channel.unary("/t.T/Echo", b"a", timeout_seconds=SOON))[0] == [b"a"]
