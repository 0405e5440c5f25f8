"""Hostile clients and odd backends: a clear error, never a 500 of our own, never a hang."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from gateway.settings import Settings
from tests.unit_gateway.backend import Served, served
from tests.unit_gateway.schema import with_rules

RULES = with_rules(
    ("Proto3Message", "POST", {"path": "/write/{string_value}", "body": "nested"}),
    ("Proto3Message", "GET", {"path": "/read/{string_value=**}"}),
)
SETTINGS = Settings(head_seconds=0.3, body_seconds=0.5)
JSON = {"Content-Type": "application/json"}
SOUND = (
    '{"stringValue": "é\\u00e9", "int64Value": "-12", "doubleValue": 1.5e3, "enumValue": "Y",'
    ' "repeatedValue": ["a", "b"], "mapValue": {"k": "v"}, "structValue": {"a": [1, null, true]},'
    ' "nested": {"timestampValue": "2026-01-31T12:00:00Z"}}'
).encode()


@pytest_asyncio.fixture
async def gateway() -> AsyncIterator[Served]:
    async with served(RULES, SETTINGS) as running:
        yield running


async def _statuses(gateway: Served, bodies: list[bytes]) -> set[int]:
    found = set()
    for body in bodies:
        async with gateway.client.post("/write/a", data=body, headers=JSON) as response:
            answer = await response.json()
            assert "code" in answer or response.status == 200, (body, answer)
            found.add(response.status)
    return found


async def test_json_broken_at_every_byte_is_told_or_still_sound(gateway: Served) -> None:
    assert await _statuses(gateway, [SOUND]) == {200}
    cut = [SOUND[:length] for length in range(1, len(SOUND))]
    assert await _statuses(gateway, cut) == {400}
    for replacement in (b"\xff", b'"'):
        changed = [SOUND[:place] + replacement + SOUND[place + 1 :] for place in range(len(SOUND))]
        assert await _statuses(gateway, changed) <= {200, 400}


@pytest.mark.parametrize(
    "body",
    [
        b'{"nested":' * 10_000 + b"{}" + b"}" * 10_000,
        b'{"structValue":{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}}",
        b'{"int64Value":' + b"9" * 1_000_000 + b"}",
        b'{"doubleValue":1e' + b"9" * 1_000_000 + b"}",
        b'{"int64Value":"' + b"9" * 1_000_000 + b'"}',
        b'{"stringValue":"\\ud800"}',
        b'{"stringValue":"\xed\xa0\x80"}',
        b'{"stringValue":"a","stringValue":"b"}',
        b'{"stringValue":"a","string_value":"b"}',
        b'{"structValue":{"__proto__":{"a":1},"a":NaN}}',
        b"\xef\xbb\xbf{}",
        b"[]",
        b'"' + b"\\" * 100_000,
    ],
    ids=lambda body: body[:20].decode("latin-1"),
)
async def test_hostile_body_is_refused_in_time(gateway: Served, body: bytes) -> None:
    async with asyncio.timeout(5):
        status, _, answer = await gateway.ask("POST", "/write/a", data=body, headers=JSON)
    assert (status, answer["code"]) == (400, 3)
    assert not gateway.backend.seen


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"/read/%ff", 400),
        (b"/read/%zz", 400),
        (b"/read/%c0%af", 400),
        (b"/read/a%0d%0aSet-Cookie:%20a=b", 200),
        (b"/read/a%00b", 200),
        (b"/read/..%2f..%2fetc", 200),
        (b"/read/a?string_value=%0d%0a", 400),
        (b"/read/a?x=%ff", 400),
        (b"/read/" + b"/" * 10_000, 200),
        (b"/read/a?" + b"repeatedValue=a&" * 800, 200),
        (b"/read/a?" + b"nested." * 500 + b"stringValue=a", 400),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_hostile_path_or_query_is_read_or_refused(gateway: Served, target: bytes, status: int) -> None:
    answer = await gateway.raw(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split()[1] == str(status).encode()
    assert b"Set-Cookie" not in head
    json.loads(body)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /read/a HTTP/1.1\r\nHost: x\r\nX-Correlation-ID: a\x0bb\r\nConnection: close\r\n\r\n",
        b"GET /read/a HTTP/1.1\r\nHost: x\r\nX A: b\r\nConnection: close\r\n\r\n",
        b"POST /write/a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        b"POST /write/a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"POST /write/a HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n{}",
        b"POST /write/a HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        b"GET /read/a HTTP/9.9\r\nHost: x\r\n\r\n",
        b"G\x00T /read/a HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
async def test_ambiguous_or_broken_http_is_400(gateway: Served, request_bytes: bytes) -> None:
    head, _, body = (await gateway.raw(request_bytes)).partition(b"\r\n\r\n")
    assert head.split()[1] == b"400", head
    assert json.loads(body)["code"] == 3
    assert not gateway.backend.seen


@pytest.mark.parametrize("sent", [b"", b"GET /read/a HTTP/1.1\r\nHost:"])
async def test_client_that_does_not_finish_its_head_is_408(gateway: Served, sent: bytes) -> None:
    head, _, body = (await gateway.raw(sent)).partition(b"\r\n\r\n")
    assert head.split()[1] == b"408"
    assert json.loads(body)["details"][0]["reason"] == "HEAD_TOO_SLOW"


async def test_slow_request_or_idle_connection_is_not_taken_for_a_slow_head(gateway: Served) -> None:
    async def slow(request: Any, context: Any) -> Any:
        await asyncio.sleep(0.8)
        return request

    gateway.backend.answer = slow
    assert (await gateway.ask("GET", "/read/a"))[0] == 200
    await asyncio.sleep(0.5)
    assert (await gateway.ask("GET", "/read/a"))[0] == 200


# Field 1 is a float, 8 a string, 11 an enum, 23 a message, 24 a map.
@pytest.mark.parametrize(
    ("reply", "status", "shown"),
    [
        (b"\x42\x01a\x42\x01b", 200, {"stringValue": "b"}),
        (b"\x58\x63", 200, {"enumValue": 99}),
        (b"\xba\x01\x03\x42\x01a\xba\x01\x02\x20\x05", 200, {"nested": {"stringValue": "a", "int32Value": 5}}),
        (b"\xfa\x7f\x01a", 200, {}),
        (b"\xc2\x01\x00", 200, {"mapValue": {"": ""}}),
        (b"\x42\x05a", 502, None),
        (b"\x42\x01\xff", 502, None),
        (b"\xff" * 20, 502, None),
        (b"\x07", 502, None),
    ],
)
async def test_odd_reply_is_shown_or_a_bad_gateway(gateway: Served, reply: bytes, status: int, shown: Any) -> None:
    async def answer(request: Any, context: Any) -> bytes:
        return reply

    gateway.backend.answer = answer
    got, _, body = await gateway.ask("GET", "/read/a")
    assert got == status
    assert body == shown if shown is not None else body["details"][0]["reason"] == "BAD_REPLY"


async def test_clients_that_leave_at_any_time_leave_nothing_behind(gateway: Served) -> None:
    request = b"POST /write/a HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    for length in range(0, len(request), 3):
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(request[:length])
        writer.transport.abort()
    assert (await gateway.ask("GET", "/read/a"))[0] == 200
