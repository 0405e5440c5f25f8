"""Client streams and raw bodies over REST: what the backend gets, and what is refused on the way (rule 16)."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from gateway.settings import Settings
from tests.unit_gateway.backend import Served, served
from tests.unit_gateway.schema import with_rules

WATCHED = {"path": "/upload/{text}", "body": "*"}
SETTINGS = Settings(max_body_bytes=100_000, body_seconds=1)
NDJSON = {"Content-Type": "application/x-ndjson"}


async def _counted(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
    last = None
    async for request in requests:
        last = request
    if last is not None:
        yield last


async def _post(gateway: Served, data: Any, **headers: str) -> tuple[int, Any]:
    gateway.backend.stream = _counted
    status, _, body = await gateway.ask("POST", "/upload/path", data=data, headers={**NDJSON, **headers})
    return status, body


async def test_lines_and_elements_are_messages_and_the_path_is_the_firsts() -> None:
    async with served(with_rules(("Watched", "POST", WATCHED), streaming="client"), SETTINGS) as gateway:
        for data, headers in (
            (b'{"number": 1}\n\n{"number": 2}', {}),
            (b' [ {"number": 1} , {"number":2}]\n', {"Content-Type": "application/json"}),
        ):
            gateway.backend.seen.clear()
            status, body = await _post(gateway, data, **headers)
            assert (status, body) == (200, {"number": "2"})
            assert [(m.text, m.number) for m in gateway.backend.seen] == [("path", 1), ("", 2)]


async def test_message_is_sent_on_before_the_next_has_come() -> None:
    """Both ways at once: each line is answered before the client writes another."""
    described = with_rules(("Watched", "POST", WATCHED), streaming="client and server")
    async with served(described, SETTINGS) as gateway:
        answered: asyncio.Queue[bytes] = asyncio.Queue()

        async def lines() -> AsyncIterator[bytes]:
            for number in (1, 2, 3):
                yield json.dumps({"number": number}).encode() + b"\n"
                assert json.loads(await asyncio.wait_for(answered.get(), 5))["number"] == str(number)

        headers = {**NDJSON, "Accept": "application/x-ndjson"}
        async with gateway.client.post("/upload/path", data=lines(), headers=headers) as response:
            async for line in response.content:
                answered.put_nowait(line)
        assert len(gateway.backend.seen) == 3


@pytest.mark.parametrize(
    ("data", "content_type", "http", "told"),
    [
        (b'{"number": 1}\n{"number": "x"}', "application/x-ndjson", 400, "byte 25"),
        (b'[{"number": 1}, {"nope": 1}]', "application/json", 400, "byte 17"),
        (b'[{"number": 1}, nope]', "application/json", 400, "byte 16"),
        (b'[{"number": 1} {}]', "application/json", 400, "byte 15"),
        (b'[{"number": 1}] x', "application/json", 400, "byte 16"),
        (b'{"number": 1}', "application/json", 400, "array"),
        (b"[" * 10_000, "application/json", 400, "nested deeper"),
        (b"{}", "text/plain", 415, "x-ndjson"),
        (b'{"text": "' + b"x" * 100_000, "application/x-ndjson", 413, "100000 bytes"),
    ],
)
async def test_fault_in_a_later_message_is_told_with_its_place(
    data: bytes, content_type: str, http: int, told: str
) -> None:
    described = with_rules(("Watched", "POST", {"path": "/upload/{resume_token}", "body": "*"}), streaming="client")
    async with served(described, SETTINGS) as gateway:
        status, body = await _post(gateway, data, **{"Content-Type": content_type})
        assert (status, told in body["message"]) == (http, True), body


async def test_client_stream_that_pauses_too_long_is_408() -> None:
    async def slowly() -> AsyncIterator[bytes]:
        yield b'{"number": 1}\n'
        await asyncio.sleep(5)

    async with served(with_rules(("Watched", "POST", WATCHED), streaming="client"), SETTINGS) as gateway:
        assert (await _post(gateway, slowly()))[0] == 408


async def test_service_that_ends_a_client_stream_early_is_heard() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b'{"number": 1}\n' * 100
            await asyncio.sleep(0.01)

    async def stream(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        await anext(requests)
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "enough")
        yield

    async with served(with_rules(("Watched", "POST", WATCHED), streaming="client"), SETTINGS) as gateway:
        gateway.backend.stream = stream
        async with gateway.client.post("/upload/path", data=endless(), headers=NDJSON) as response:
            assert (response.status, (await response.json())["message"]) == (429, "enough")


async def test_raw_body_streams_through_beyond_the_limit_of_a_body() -> None:
    described = with_rules(
        ("Filed", "POST", {"path": "/{filename=**}:upload", "body": "file", "response_body": "file"}),
        streaming="client and server",
    )

    async def data() -> AsyncIterator[bytes]:
        for _ in range(50):
            yield b"x" * 10_000

    async with served(described, SETTINGS) as gateway:
        headers = {"Content-Type": "video/mp4"}
        async with gateway.client.post("/a/b.mp4:upload", data=data(), headers=headers) as response:
            assert response.headers["Content-Type"] == "video/mp4"
            assert len(await response.read()) == 500_000
        assert [message.filename for message in gateway.backend.seen[:2]] == ["a/b.mp4", ""]


async def test_content_type_of_a_raw_answer_cannot_forge_a_header() -> None:
    described = with_rules(("Empty", "GET", {"path": "/file"}), response="google.api.HttpBody")
    async with served(described, SETTINGS) as gateway:

        async def answer(request: Any, context: Any) -> Any:
            return gateway.type("google.api.HttpBody")(content_type="text/html\r\nSet-Cookie: a=b", data=b"x")

        gateway.backend.answer = answer
        async with gateway.client.get("/file") as response:
            assert response.headers["Content-Type"] == "application/octet-stream"
            assert "Set-Cookie" not in response.headers
