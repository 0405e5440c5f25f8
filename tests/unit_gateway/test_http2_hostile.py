"""The HTTP/2 client before servers that are slow, go away, or break the protocol: every call ends, and rightly."""

import asyncio
from collections.abc import Callable

import pytest
from grpc import StatusCode

from gateway.http2 import CallFailed, Limits, Unprocessed, Unreachable, frames, hpack
from gateway.http2.frames import ErrorCode
from gateway.http2.messages import prefixed
from tests.unit_gateway.http2_server import Peer, answer, data, headers, scripted, trailers

SOON = 5.0
QUICK = Limits(connect_seconds=0.5, ping_after_seconds=0.05, ping_seconds=0.05, close_seconds=0.2)


def _sending(*broken: bytes) -> Callable[[Peer], "asyncio.Future[None]"]:
    """Returns a script that answers the first call with bytes, and then only listens."""

    async def script(peer: Peer) -> None:
        await peer.begin()
        await peer.call()
        for written in broken:
            peer.send(written)
        await peer.until_closed()

    return script  # type: ignore[return-value]


BROKEN = {
    "a frame too large": b"\xff\xff\xff\x00\x00\x00\x00\x00\x01",
    "data without headers' end": frames.frame(frames.HEADERS, 0, 1, b"\x88") + data(1, b""),
    "a broken header block": headers(1, b"\x80"),
    "headers without end": frames.frame(frames.HEADERS, 0, 1) + frames.frame(frames.CONTINUATION, 0, 1) * 100,
    "headers too large": headers(1, hpack.encoded("a", "x" * 40_000) * 2),
    "a push": frames.frame(frames.PUSH_PROMISE, frames.END_HEADERS, 1, b"\0\0\0\2"),
    "a stream nobody began": headers(3),
    "a stream of the server": headers(2),
    "a window of nothing": frames.window_update(0, 0),
    "a window too wide": frames.window_update(0, 2**31 - 1),
    "a short WINDOW_UPDATE": frames.frame(frames.WINDOW_UPDATE, 0, 0, b"\1"),
    "a short RST_STREAM": frames.frame(frames.RST_STREAM, 0, 1, b"\1"),
    "a short GOAWAY": frames.frame(frames.GOAWAY, 0, 0, b"\1"),
    "a short PING": frames.frame(frames.PING, 0, 0, b"\1"),
    "broken SETTINGS": frames.frame(frames.SETTINGS, 0, 0, b"\1"),
    "SETTINGS of a stream": frames.frame(frames.SETTINGS, 0, 1),
    "a frame size of 1": frames.settings({frames.MAX_FRAME_SIZE: 1}),
    "a first window too wide": frames.settings({frames.INITIAL_WINDOW_SIZE: 2**31}),
    "more padding than bytes": headers(1) + frames.frame(frames.DATA, frames.PADDED, 1, b"\x09abc"),
    "more than the window takes": headers(1) + data(1, prefixed(b"x" * 60_000)) * 5,
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
async def test_broken_protocol_ends_the_call_and_the_connection(broken: bytes) -> None:
    async with scripted(_sending(broken)) as channel:
        call = await channel.begin("/a/b", timeout_seconds=SOON)
        with pytest.raises(CallFailed) as failed:
            await asyncio.wait_for(call.finish(), SOON)
        assert failed.value.code is StatusCode.UNAVAILABLE
        assert "HTTP/2" in failed.value.message


@pytest.mark.parametrize(
    ("written", "code"),
    [
        (frames.rst_stream(1, ErrorCode.CANCEL), StatusCode.CANCELLED),
        (
            headers(1) + data(1, prefixed(b"x")[:4]) + frames.rst_stream(1, ErrorCode.INTERNAL_ERROR),
            StatusCode.INTERNAL,
        ),
        (headers(1) + data(1, prefixed(b"xyz")[:-1]) + headers(1, trailers(), end=True), StatusCode.INTERNAL),
        (headers(1) + frames.frame(frames.DATA, frames.END_STREAM, 1), StatusCode.INTERNAL),
        (headers(1, b"\x8d", end=True), StatusCode.UNIMPLEMENTED),  # a plain 404
        (headers(1, b"\x88") + data(1, b"<html>"), StatusCode.UNKNOWN),
        (headers(1) + headers(1, trailers(7, grpc_message="no"), end=True), StatusCode.PERMISSION_DENIED),
        (headers(1, b"\x88" + hpack.encoded("grpc-status", "16"), end=True), StatusCode.UNAUTHENTICATED),
        (headers(1) + data(1, b"\0\x7f\xff\xff\xff"), StatusCode.RESOURCE_EXHAUSTED),
    ],
)
async def test_bad_end_of_a_call_leaves_the_connection(written: bytes, code: StatusCode) -> None:
    async def script(peer: Peer) -> None:
        await peer.begin()
        await peer.call()
        peer.send(written)
        peer.send(answer(await peer.call(), b"next"))
        await peer.until_closed()

    async with scripted(script) as channel:
        with pytest.raises(CallFailed) as failed:
            await channel.unary("/a/b", b"", timeout_seconds=SOON)
        assert failed.value.code is code
        assert (await channel.unary("/a/b", b"", timeout_seconds=SOON))[0] == [b"next"]


async def test_informational_headers_are_passed_over() -> None:
    async def script(peer: Peer) -> None:
        await peer.begin()
        stream = await peer.call()
        peer.send(headers(stream, hpack.encoded(":status", "103")) + answer(stream, b"a"))
        await peer.until_closed()

    async with scripted(script) as channel:
        assert (await channel.unary("/a/b", b"", timeout_seconds=SOON))[0] == [b"a"]


async def test_server_that_never_answers_is_left_at_the_deadline() -> None:
    reset: asyncio.Future[frames.Frame] = asyncio.get_running_loop().create_future()

    async def script(peer: Peer) -> None:
        await peer.begin()
        await peer.call()
        reset.set_result(await peer.sees(frames.RST_STREAM))
        await peer.until_closed()

    async with scripted(script) as channel:
        with pytest.raises(CallFailed) as failed:
            await channel.unary("/a/b", b"", timeout_seconds=0.05)
        assert failed.value.code is StatusCode.DEADLINE_EXCEEDED
        assert (await asyncio.wait_for(reset, SOON))[2:] == (1, b"\0\0\0\x08")


async def test_cancelled_caller_resets_its_stream() -> None:
    called = asyncio.Event()
    reset: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def script(peer: Peer) -> None:
        await peer.begin()
        await peer.call()
        called.set()
        await peer.sees(frames.RST_STREAM)
        reset.set_result(asyncio.get_running_loop().time())
        await peer.until_closed()

    async with scripted(script) as channel:
        task = asyncio.create_task(channel.unary("/a/b", b"", timeout_seconds=SOON))
        await asyncio.wait_for(called.wait(), SOON)
        left = asyncio.get_running_loop().time()
        task.cancel()
        print(f"reset after {(await asyncio.wait_for(reset, SOON) - left) * 1000:.1f} ms")


async def test_nothing_is_sent_beyond_the_windows() -> None:
    """A window of ten bytes, opened step by step: what arrives is the message, in pieces that fit."""
    message = bytes(range(250)) * 4
    pieces: list[int] = []
    received = bytearray()

    async def script(peer: Peer) -> None:
        await peer.begin(frames.settings({frames.INITIAL_WINDOW_SIZE: 10}))
        stream = await peer.call()
        while len(received) < len(message) + 5:
            _, flags, _, piece = await peer.sees(frames.DATA)
            pieces.append(len(piece))
            received.extend(piece)
            assert bool(flags & frames.END_STREAM) is (len(received) == len(message) + 5)
            peer.send(frames.window_update(stream, len(piece)))
        peer.send(answer(stream, b"done"))
        await peer.until_closed()

    async with scripted(script) as channel:
        assert (await channel.unary("/a/b", message, timeout_seconds=SOON))[0] == [b"done"]
    assert received == prefixed(message)
    assert max(pieces) == 10


async def test_window_that_shrinks_below_zero_is_waited_for() -> None:
    async def script(peer: Peer) -> None:
        await peer.begin(frames.settings({frames.INITIAL_WINDOW_SIZE: 100}))
        stream = await peer.call()
        assert len((await peer.sees(frames.DATA))[3]) == 100
        peer.send(frames.settings({frames.INITIAL_WINDOW_SIZE: 0}))  # the stream's window is now -100
        peer.send(frames.window_update(stream, 110))
        assert len((await peer.sees(frames.DATA))[3]) == 10
        peer.send(frames.window_update(stream, 1000))
        await peer.sees(frames.DATA)
        peer.send(answer(stream, b"done"))
        await peer.until_closed()

    async with scripted(script) as channel:
        assert (await channel.unary("/a/b", b"x" * 200, timeout_seconds=SOON))[0] == [b"done"]


async def test_server_sends_no_more_than_a_reader_takes() -> None:
    limits = Limits(stream_window_bytes=1000)
    granted: asyncio.Queue[int] = asyncio.Queue()
    taken_in = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.begin()
        stream = await peer.call()
        ping = frames.frame(frames.PING, 0, 0, b"all here")
        peer.send(headers(stream) + data(stream, prefixed(b"x" * 495)) * 2 + ping)
        while True:
            kind, _, on, payload = await peer.next()
            if kind == frames.PING:
                taken_in.set()
            if kind == frames.WINDOW_UPDATE and on == stream:
                granted.put_nowait(int.from_bytes(payload, "big"))

    async with scripted(script, limits) as channel:
        call = await channel.begin("/a/b", timeout_seconds=SOON)
        await asyncio.wait_for(taken_in.wait(), SOON)
        assert granted.empty()
        for _ in range(2):
            assert await call.read() == b"x" * 495
            assert await asyncio.wait_for(granted.get(), SOON) == 500
        call.cancel()


async def test_going_away_finishes_what_is_begun_and_repeats_what_is_not() -> None:
    connections = 0

    async def script(peer: Peer) -> None:
        nonlocal connections
        connections += 1
        await peer.begin()
        stream = await peer.call()
        if connections == 1:
            await peer.call()  # which the server will not look at
            peer.send(frames.goaway(stream, ErrorCode.NO_ERROR))
            peer.send(answer(stream, b"first"))
        else:
            peer.send(answer(stream, b"second"))
        await peer.until_closed()

    async with scripted(script) as channel:
        calls = [channel.unary("/a/b", b"", timeout_seconds=SOON) for _ in range(2)]
        answers = [messages for messages, _ in await asyncio.gather(*calls)]
    assert answers == [[b"first"], [b"second"]]
    assert connections == 2


async def test_refused_stream_is_tried_again_but_not_for_ever() -> None:
    attempts = 0

    async def script(peer: Peer) -> None:
        nonlocal attempts
        await peer.begin()
        while True:
            stream = await peer.call()
            attempts += 1
            refused = frames.rst_stream(stream, ErrorCode.REFUSED_STREAM)
            peer.send(answer(stream, b"a") if attempts == 2 else refused)

    async with scripted(script) as channel:
        assert (await channel.unary("/a/b", b"", timeout_seconds=SOON))[0] == [b"a"]
        with pytest.raises(Unprocessed):
            await channel.unary("/a/b", b"", timeout_seconds=SOON)
    assert attempts == 2 + Limits().attempts


async def test_call_that_was_looked_at_is_not_repeated() -> None:
    attempts = 0

    async def script(peer: Peer) -> None:
        nonlocal attempts
        await peer.begin()
        await peer.call()
        attempts += 1
        peer.close()

    async with scripted(script) as channel:
        with pytest.raises(CallFailed) as failed:
            await channel.unary("/a/b", b"", timeout_seconds=SOON)
    assert failed.value.code is StatusCode.UNAVAILABLE
    assert attempts == 1


async def test_full_connection_gets_a_second_and_then_calls_wait() -> None:
    limits = Limits(max_connections=2)
    waiting: asyncio.Queue[tuple[Peer, int]] = asyncio.Queue()

    async def script(peer: Peer) -> None:
        await peer.begin(frames.settings({frames.MAX_CONCURRENT_STREAMS: 1}))
        while True:
            waiting.put_nowait((peer, await peer.call()))

    async with scripted(script, limits) as channel:
        calls = [asyncio.create_task(channel.unary("/a/b", b"", timeout_seconds=SOON)) for _ in range(3)]
        first, second = [await asyncio.wait_for(waiting.get(), SOON) for _ in range(2)]
        assert first[0] is not second[0]
        first[0].send(answer(first[1], b"a"))
        third = await asyncio.wait_for(waiting.get(), SOON)
        assert third[0] is first[0]
        for peer, stream in (second, third):
            peer.send(answer(stream, b"a"))
        assert [messages for messages, _ in await asyncio.gather(*calls)] == [[b"a"]] * 3


async def test_connection_that_lives_no_more_is_found_out() -> None:
    async def script(peer: Peer) -> None:
        await peer.begin()
        await peer.call()
        await asyncio.Event().wait()

    async with scripted(script, QUICK) as channel:
        with pytest.raises(CallFailed) as failed:
            await channel.unary("/a/b", b"", timeout_seconds=SOON)
    assert "does not answer" in failed.value.message


async def test_server_is_not_asked_too_often_whether_it_lives() -> None:
    pings = 0

    async def script(peer: Peer) -> None:
        nonlocal pings
        await peer.begin()
        stream = await peer.call()
        while True:
            ping = asyncio.create_task(peer.sees(frames.PING))
            done, _ = await asyncio.wait({ping}, timeout=0.5)
            if not done:
                ping.cancel()
                peer.send(answer(stream, b"at last"))
                return await peer.until_closed()
            pings += 1
            peer.send(frames.frame(frames.PING, frames.ACK, 0, ping.result()[3]))

    async with scripted(script, QUICK) as channel:
        assert (await channel.unary("/a/b", b"", timeout_seconds=SOON))[0] == [b"at last"]
    assert pings == QUICK.silent_pings


@pytest.mark.parametrize("greeting", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", headers(1)])
async def test_server_that_is_none_is_unreachable(greeting: bytes) -> None:
    async def script(peer: Peer) -> None:
        peer.send(greeting)
        await peer.until_closed()

    async with scripted(script, QUICK) as channel:
        with pytest.raises(Unreachable):
            await channel.unary("/a/b", b"", timeout_seconds=SOON)
        assert not await channel.ready(0.1)


async def test_calls_in_hand_end_when_the_channel_closes() -> None:
    called = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.begin()
        await peer.call()
        called.set()
        await peer.sees(frames.GOAWAY)

    async with scripted(script) as channel:
        task = asyncio.create_task(channel.unary("/a/b", b"", timeout_seconds=SOON))
        await asyncio.wait_for(called.wait(), SOON)
    with pytest.raises(CallFailed):
        await task
    with pytest.raises(Unreachable):
        await channel.unary("/a/b", b"", timeout_seconds=SOON)
