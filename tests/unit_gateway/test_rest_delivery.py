"""How an answer is handed over: entity tags and gzip; and what HTTP asks beside: Expect, redirects, slow bodies."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from grpc_health.v1 import health, health_pb2
from yarl import URL

from gateway.delivery import takes_gzip
from gateway.router import RouterOptions
from gateway.settings import Settings
from tests.unit_gateway.backend import Served, served
from tests.unit_gateway.schema import with_rules

RULES = with_rules(("Named", "GET", {"path": "/read"}), ("Named", "POST", {"path": "/write", "body": "*"}))
SETTINGS = Settings(body_seconds=0.5, max_body_bytes=100_000)
JSON = b"Content-Type: application/json\r\n"


@pytest_asyncio.fixture
async def gateway() -> AsyncIterator[Served]:
    async with served(RULES, SETTINGS) as running:
        yield running


async def test_client_that_has_the_answer_is_told_so(gateway: Served) -> None:
    _, headers, _ = await gateway.ask("GET", "/read?name=a")
    tag = headers["ETag"]
    assert not tag.startswith("W/")
    for given in (tag, f'"x", W/{tag}', "*"):
        status, again, body = await gateway.ask("GET", "/read?name=a", headers={"If-None-Match": given})
        assert (status, again["ETag"], body) == (304, tag, None)
        assert "X-Correlation-ID" in again
    assert (await gateway.ask("GET", "/read?name=b", headers={"If-None-Match": tag}))[0] == 200
    assert "ETag" not in (await gateway.ask("POST", "/write", json={}))[1]


async def test_long_answers_are_packed_for_who_takes_gzip(gateway: Served) -> None:
    path = "/read?name=" + "a" * 2000
    got = {}
    for accept in ("gzip", "identity"):
        async with gateway.client.get(path, headers={"Accept-Encoding": accept}, auto_decompress=False) as response:
            got[accept] = await response.read()
            assert response.headers.get("Content-Encoding") == ("gzip" if accept == "gzip" else None)
            assert response.headers["Vary"] == "Accept-Encoding, X-Goog-Api-Client"
            tag = response.headers["ETag"]
        status, _, _ = await gateway.ask("GET", path, headers={"Accept-Encoding": accept, "If-None-Match": tag})
        assert status == 304
        other = "identity" if accept == "gzip" else "gzip"
        status, _, _ = await gateway.ask("GET", path, headers={"Accept-Encoding": other, "If-None-Match": tag})
        assert status == 200  # other bytes have another strong tag
    assert gzip.decompress(got["gzip"]) == got["identity"]
    assert len(got["gzip"]) < 200


@pytest.mark.parametrize(
    ("accept", "taken"),
    [
        ("", False), ("gzip", True), ("br, GZIP;q=0.5", True), ("gzip;q=0", False), ("gzip;q=0.001", True),
        ("*", True), ("*;q=0", False), ("gzip;q=0, *", False), ("identity", False),
    ],
)  # fmt: skip
def test_accept_encoding_is_read(accept: str, taken: bool) -> None:
    assert takes_gzip(accept) is taken


async def test_packed_body_is_unpacked_and_a_broken_one_refused(gateway: Served) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    packed = gzip.compress(b'{"name": "packed"}')
    assert (await gateway.ask("POST", "/write", data=packed, headers=headers))[2] == {"name": "packed"}
    for broken in (b"no gzip at all", packed[:-16]):
        status, _, body = await gateway.ask("POST", "/write", data=broken, headers=headers)
        assert (status, body["code"]) == (400, 3)
    assert len(gateway.backend.seen) == 1


async def test_body_that_does_not_come_is_408(gateway: Served) -> None:
    request = b"POST /write HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + JSON + b"Content-Length: 9\r\n\r\n{"
    head, _, body = (await gateway.raw(request)).partition(b"\r\n\r\n")
    assert head.split()[1] == b"408"
    assert json.loads(body)["details"][0]["reason"] == "BODY_TOO_SLOW"


async def test_client_that_asks_first_is_told_to_go_on_or_not(gateway: Served) -> None:
    start = b"POST /write HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + JSON
    go_on = start + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}"
    assert (await gateway.raw(go_on)).startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")
    too_large = start + b"Expect: 100-continue\r\nContent-Length: 100001\r\n\r\n"
    assert (await gateway.raw(too_large)).startswith(b"HTTP/1.1 413")
    unknown = start + b"Expect: a-miracle\r\nContent-Length: 2\r\n\r\n{}"
    assert (await gateway.raw(unknown)).startswith(b"HTTP/1.1 417")


async def test_slash_redirects_where_it_is_set_so() -> None:
    settings = Settings(router=RouterOptions(trailing_slash="redirect"))
    async with served(RULES, settings) as gateway:
        status, headers, _ = await gateway.ask("GET", URL("/read/?name=a%2Fb", encoded=True), allow_redirects=False)
        assert (status, headers["Location"]) == (308, "/read?name=a%2Fb")
        answer = await gateway.raw(b"GET //elsewhere/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"404" in answer.splitlines()[0]
        assert b"Location" not in answer


async def test_backend_that_sends_broken_bytes_is_a_bad_gateway(gateway: Served) -> None:
    async def answer(request: Any, context: Any) -> bytes:
        return b"\x0a\xff\x01"

    gateway.backend.answer = answer
    status, _, body = await gateway.ask("GET", "/read")
    assert (status, body["code"], body["details"][0]["reason"]) == (502, 13, "BAD_REPLY")


@pytest.mark.parametrize(
    ("state", "http"), [("SERVING", 200), ("NOT_SERVING", 503), ("UNKNOWN", 503), ("SERVICE_UNKNOWN", 404)]
)
async def test_health_of_a_service_is_asked(state: str, http: int) -> None:
    servicer = health.aio.HealthServicer()
    await servicer.set("cases.Cases", health_pb2.HealthCheckResponse.ServingStatus.Value(state))
    async with served(RULES, also=servicer) as gateway:
        status, _, body = await gateway.ask("GET", "/health/cases.Cases")
        assert (status, body["state"]) == (http, state)
        status, _, body = await gateway.ask("GET", "/health")
        # The other service of the descriptor set is not there.
        assert (status, body["services"]) == (503, {"cases.Cases": state, "cases.Compliance": "NOT_FOUND"})
        assert (await gateway.ask("GET", "/health/none"))[0] == 404


async def test_descriptors_are_exchanged_without_a_dropped_request(gateway: Served) -> None:
    statuses: dict[str, list[int]] = {"/read": [], "/write": []}
    done = asyncio.Event()

    async def ask(path: str, method: str) -> None:
        while not done.is_set():
            statuses[path].append((await gateway.ask(method, path))[0])

    asking = [asyncio.create_task(ask("/read", "GET")), asyncio.create_task(ask("/write", "GET"))]
    more = with_rules(("Named", "GET", {"path": "/read"}), ("Named", "GET", {"path": "/write"}))
    for described in (more, RULES, more):
        gateway.process.reload(described)
        await asyncio.sleep(0.05)
    done.set()
    await asyncio.gather(*asking)
    assert set(statuses["/read"]) == {200}
    assert set(statuses["/write"]) == {200, 405}
