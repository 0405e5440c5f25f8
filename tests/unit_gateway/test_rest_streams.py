"""Streams over REST: what comes when, what ends them, and what a client sees of an error in the middle (rule 15)."""

import asyncio
import json
import resource
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import grpc
import pytest
import pytest_asyncio

from gateway.frames import Events, JsonArray, Lines, frames_for
from gateway.settings import Settings
from tests.unit_gateway.backend import Served, served
from tests.unit_gateway.schema import with_rules

RULES = with_rules(("Watched", "GET", {"path": "/watch"}), streaming="server")
SETTINGS = Settings(stream_open_seconds=0.1, heartbeat_seconds=0.1, drain_seconds=2)
FORMS = ("application/json", "application/x-ndjson", "text/event-stream")


@pytest_asyncio.fixture
async def gateway() -> AsyncIterator[Served]:
    async with served(RULES, SETTINGS) as running:
        yield running


def _answers(gateway: Served, *messages: dict[str, Any], abort: grpc.StatusCode | None = None) -> None:
    async def stream(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async for _ in requests:
            for message in messages:
                yield gateway.type("Watched")(**message)
        if abort is not None:
            await context.abort(abort, "broke off")

    gateway.backend.stream = stream


async def _body(gateway: Served, accept: str, **options: Any) -> tuple[int, str, str]:
    headers = {"Accept": accept, **options.pop("headers", {})}
    async with gateway.client.get("/watch", headers=headers, **options) as response:
        return response.status, response.headers["Content-Type"], await response.text()


@pytest.mark.parametrize(
    ("accept", "body"),
    [
        ("application/json", '[{"resumeToken":"a","text":"1"},\n{"text":"2"}]'),
        ("application/x-ndjson", '{"resumeToken":"a","text":"1"}\n{"text":"2"}\n'),
        ("text/event-stream", 'id: a\ndata: {"resumeToken":"a","text":"1"}\n\ndata: {"text":"2"}\n\n'),
    ],
)
async def test_stream_has_the_form_its_client_accepts(gateway: Served, accept: str, body: str) -> None:
    _answers(gateway, {"resume_token": "a", "text": "1"}, {"text": "2"})
    assert await _body(gateway, accept) == (200, accept, body)


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", JsonArray),
        ("*/*", JsonArray),
        ("text/html", JsonArray),
        ("text/event-stream, application/json;q=0.9", Events),
        ("application/json;q=0.1, application/x-ndjson;q=0.2", Lines),
        ("text/event-stream;q=0, */*", JsonArray),
    ],
)
def test_accept_is_weighed(accept: str, wanted: type) -> None:
    assert type(frames_for(accept)) is wanted


async def test_empty_stream_is_an_empty_array(gateway: Served) -> None:
    _answers(gateway)
    assert (await _body(gateway, "*/*"))[2] == "[]"


@pytest.mark.parametrize("accept", FORMS)
async def test_first_message_is_out_before_the_second_is_made(gateway: Served, accept: str) -> None:
    go_on = asyncio.Event()

    async def stream(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        yield gateway.type("Watched")(text="first")
        await go_on.wait()
        yield gateway.type("Watched")(text="second")

    gateway.backend.stream = stream
    async with gateway.client.get("/watch", headers={"Accept": accept}) as response:
        begun = b""
        while b'{"text":"first"}' not in begun:
            begun += await asyncio.wait_for(response.content.readany(), 5)
        assert b"second" not in begun
        go_on.set()
        assert b"second" in await response.content.read()


@pytest.mark.parametrize("accept", FORMS)
async def test_error_before_the_first_message_is_the_answer(gateway: Served, accept: str) -> None:
    _answers(gateway, abort=grpc.StatusCode.PERMISSION_DENIED)
    status, content_type, body = await _body(gateway, accept)
    assert (status, content_type, json.loads(body)["code"]) == (403, "application/json", 7)


@pytest.mark.parametrize("accept", FORMS)
async def test_error_in_mid_stream_is_seen(gateway: Served, accept: str) -> None:
    _answers(gateway, {"text": "1"}, abort=grpc.StatusCode.DATA_LOSS)
    status, _, body = await _body(gateway, accept)
    assert status == 200
    last: Any
    if accept == "application/json":
        last = json.loads(body)[-1]["error"]
    elif accept == "application/x-ndjson":
        last = json.loads(body.splitlines()[-1])["error"]
    else:
        kind, data = body.strip().rpartition("\n\n")[2].splitlines()
        assert kind == "event: error"
        last = json.loads(data.removeprefix("data: "))
    assert (last["code"], last["message"]) == (15, "broke off")


async def test_broken_raw_stream_does_not_look_complete() -> None:
    described = with_rules(("Empty", "GET", {"path": "/file"}), response="google.api.HttpBody", streaming="server")
    async with served(described, SETTINGS) as gateway:

        async def stream(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
            yield gateway.type("google.api.HttpBody")(content_type="text/csv", data=b"a,b\n")
            await context.abort(grpc.StatusCode.DATA_LOSS, "broke off")

        gateway.backend.stream = stream
        async with gateway.client.get("/file") as response:
            assert response.headers["Content-Type"] == "text/csv"
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()


async def test_silent_stream_of_events_opens_and_beats(gateway: Served) -> None:
    async def stream(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        await asyncio.Event().wait()
        yield

    gateway.backend.stream = stream
    async with gateway.client.get("/watch", headers={"Accept": "text/event-stream"}) as response:
        assert response.status == 200
        assert await asyncio.wait_for(response.content.readexactly(13), 5) == b": heartbeat\n\n"


async def test_last_event_id_is_the_resume_token(gateway: Served) -> None:
    _answers(gateway)
    await _body(gateway, "text/event-stream", headers={"Last-Event-ID": "here"})
    assert gateway.backend.seen[-1].resume_token == "here"
    await _body(gateway, "text/event-stream", headers={"Last-Event-ID": "here"}, params={"resumeToken": "there"})
    assert gateway.backend.seen[-1].resume_token == "there"


async def test_token_with_a_line_break_makes_no_event_of_its_own(gateway: Served) -> None:
    _answers(gateway, {"resume_token": "a\n\nevent: forged"})
    assert (await _body(gateway, "text/event-stream"))[2].startswith("data: ")


async def test_client_that_goes_away_cancels_the_stream(gateway: Served) -> None:
    loop = asyncio.get_running_loop()
    started = asyncio.Event()

    async def stream(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        yield gateway.type("Watched")(text="first")
        started.set()
        await asyncio.Event().wait()

    gateway.backend.stream = stream
    response = await gateway.client.get("/watch")
    await asyncio.wait_for(started.wait(), 5)
    left = loop.time()
    response.close()
    await asyncio.wait_for(gateway.backend.cancelled.wait(), 5)
    print(f"cancelled after {(loop.time() - left) * 1000:.1f} ms")


async def test_client_that_does_not_read_loses_its_stream() -> None:
    ended = asyncio.Event()
    async with served(RULES, Settings(write_seconds=0.3)) as gateway:

        async def stream(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
            try:
                for reply in _chunks(gateway.type("Watched"), 1000):
                    yield reply
                await asyncio.Event().wait()
            finally:
                ended.set()

        gateway.backend.stream = stream
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.port, limit=1024)
        writer.write(b"GET /watch HTTP/1.1\r\nHost: x\r\n\r\n")
        try:
            await asyncio.wait_for(ended.wait(), 10)
        finally:
            writer.transport.abort()


async def test_gateway_that_stops_says_so_on_its_streams() -> None:
    async with served(RULES, SETTINGS) as gateway:

        async def stream(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
            yield gateway.type("Watched")(text="first")
            await asyncio.Event().wait()

        gateway.backend.stream = stream
        response = await gateway.client.get("/watch", headers={"Accept": "application/x-ndjson"})
        await response.content.readline()
        gateway.process.gateway.stop()
        assert json.loads(await asyncio.wait_for(response.content.readline(), 5))["error"]["code"] == 14
        assert await response.content.read() == b""


async def test_head_of_a_stream_has_its_headers_alone(gateway: Served) -> None:
    _answers(gateway, {"text": "1"})
    async with gateway.client.head("/watch", headers={"Accept": "text/event-stream"}) as response:
        assert (response.status, response.headers["Content-Type"]) == (200, "text/event-stream")
        assert await response.read() == b""


def _megabytes() -> int:
    """Peak memory of this process, which is client, gateway and backend at once."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _chunks(message: Any, megabytes: int) -> Iterator[Any]:
    reply = message(padding=b"x" * 500_000).to_binary()
    return (reply for _ in range(megabytes * 2))


@pytest.mark.parametrize("megabytes", [192, pytest.param(1000, marks=pytest.mark.long)])
async def test_memory_stays_flat_on_a_long_stream(megabytes: int) -> None:
    """Messages of 0.5 MB, the client slower than the backend: whoever keeps them all would show."""
    async with served(RULES, SETTINGS) as gateway:
        await _stream_and_measure(gateway, megabytes)


async def _stream_and_measure(gateway: Served, megabytes: int) -> None:

    async def stream(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        for reply in _chunks(gateway.type("Watched"), megabytes):
            yield reply

    gateway.backend.stream = stream
    before, received = _megabytes(), 0
    options: Any = {"headers": {"Accept": "application/x-ndjson"}, "timeout": aiohttp.ClientTimeout(total=100)}
    async with gateway.client.get("/watch", **options) as response:
        async for chunk in response.content.iter_any():
            received += len(chunk)
            await asyncio.sleep(0)
    print(f"{received // 1_000_000} MB took {_megabytes() - before} MB")
    assert received > megabytes * 1_000_000
    assert _megabytes() - before < 100
