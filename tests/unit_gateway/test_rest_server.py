"""The gateway end to end: real HTTP, real gRPC, and a backend that serialises anew what it echoes."""

import asyncio
import gzip
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import grpc
import pytest
import pytest_asyncio
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from yarl import URL

from gateway.refusal import HTTP_STATUS
from gateway.settings import Settings
from services.mesh import ROOT
from tests.unit_gateway.backend import Served, served
from tests.unit_gateway.schema import with_rules

RULES = with_rules(
    ("Proto3Message", "GET", {"path": "/read/{string_value}"}),
    ("CreateVolume", "POST", {"path": "/{parent=shelves/*}/books", "body": "*"}),
)
SETTINGS = Settings(cors_origins=frozenset({"https://app.example"}), max_body_bytes=100_000, timeout_seconds=5)


@pytest_asyncio.fixture
async def gateway() -> AsyncIterator[Served]:
    async with served(RULES, SETTINGS) as running:
        yield running


def _fails(code: grpc.StatusCode, message: str = "no", trailing: tuple[tuple[str, str | bytes], ...] = ()) -> Any:
    async def answer(request: Any, context: Any) -> Any:
        context.set_trailing_metadata(trailing)
        await context.abort(code, message)

    return answer


async def test_request_reaches_the_backend_and_its_reply_the_client(gateway: Served) -> None:
    status, headers, body = await gateway.ask("POST", "/shelves/1/books?$alt=json", json={"book": {"title": "é"}})
    assert (status, body) == (200, {"parent": "shelves/1", "book": {"title": "é"}})
    assert headers["Content-Type"] == "application/json"
    assert gateway.backend.seen[0].book.title == "é"


async def test_path_and_query_stay_raw_until_they_are_decoded_once(gateway: Served) -> None:
    url = URL("/read/a%252Fb%2Fc%3Ad?bytes_value=YQ%3D%3D", encoded=True)
    assert (await gateway.ask("GET", url))[2] == {"stringValue": "a%2Fb/c:d", "bytesValue": "YQ=="}
    answer = await gateway.raw(b"GET http://elsewhere/read/x HTTP/1.1\r\nHost: elsewhere\r\nConnection: close\r\n\r\n")
    assert answer.endswith(b'{"stringValue":"x"}')


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
async def test_every_code_becomes_its_http_status(gateway: Served, code: grpc.StatusCode) -> None:
    gateway.backend.answer = _fails(code, "100% – ünïcode\n%41")
    status, headers, body = await gateway.ask("GET", "/read/a")
    assert status == HTTP_STATUS[code]
    assert (body["code"], body["message"]) == (code.value[0], "100% – ünïcode\n%41")
    assert ("retry-after" in headers) == (status in (503, 429))
    assert ("www-authenticate" in headers) == (status == 401)


async def test_details_are_decoded_and_unknown_ones_kept(gateway: Served) -> None:
    info = any_pb2.Any()
    info.Pack(error_details_pb2.ErrorInfo(reason="NO_FUNDS", domain="astra.trading", metadata={"a": "b"}))
    unknown = any_pb2.Any(type_url="type.googleapis.com/not.Known", value=b"\x00\xff")
    status = status_pb2.Status(code=9, message="no", details=[info, unknown])
    trailing = (("grpc-status-details-bin", status.SerializeToString()),)
    gateway.backend.answer = _fails(grpc.StatusCode.FAILED_PRECONDITION, "no", trailing)
    http, _, body = await gateway.ask("GET", "/read/a")
    assert (http, body["code"]) == (400, 9)
    known = {"reason": "NO_FUNDS", "domain": "astra.trading", "metadata": {"a": "b"}}
    assert body["details"] == [
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", **known},
        {"@type": "type.googleapis.com/not.Known", "value": "AP8="},
    ]


@pytest.mark.parametrize(
    ("code", "flags", "reason", "http", "told"),
    [
        ("UNAVAILABLE", "UH", "no_healthy_upstream", 503, "NO_HEALTHY_UPSTREAM"),
        ("UNAVAILABLE", "UO", "upstream_reset_before_response_started{overflow}", 503, "OVERLOADED"),
        ("UNAVAILABLE", "URX,UT", "upstream_per_try_timeout", 504, "UPSTREAM_TIMEOUT"),
        ("DEADLINE_EXCEEDED", "-", "max_duration_timeout", 504, "DEADLINE_EXCEEDED"),
        ("RESOURCE_EXHAUSTED", "RL", "request_rate_limited", 429, "RATE_LIMITED"),
        ("UNAVAILABLE", "RL", "local_rate_limited", 429, "RATE_LIMITED"),
        ("NOT_FOUND", "UO", "via_upstream", 404, None),  # the service's own error, its retry was over budget
        ("UNAUTHENTICATED", "-", "jwt_authn_access_denied{Jwt_is_missing}", 401, None),
    ],
)
async def test_what_the_proxy_answers_is_told_apart(
    gateway: Served, code: str, flags: str, reason: str, http: int, told: str | None
) -> None:
    trailing = (("x-mesh-flags", flags), ("x-mesh-reason", reason), ("x-ratelimit-reset", "7"), ("x-other", "inside"))
    gateway.backend.answer = _fails(grpc.StatusCode[code], "", trailing)
    status, headers, body = await gateway.ask("GET", "/read/a")
    assert status == http
    assert [detail["reason"] for detail in body["details"]] == ([told] if told else [])
    assert headers.get("Retry-After") == ("7" if http in (503, 429) else None)
    assert not told or body["details"][0]["metadata"]["grpcCode"] == code
    assert "x-other" not in headers


async def test_backend_that_is_down_is_an_honest_503() -> None:
    async with served(RULES, SETTINGS, up=False) as gateway:
        status, headers, body = await gateway.ask("GET", "/read/a")
        assert (status, body["code"], headers["Retry-After"]) == (503, 14, "1")
        assert gateway.backend.address not in json.dumps(body)
        assert (await gateway.ask("GET", "/readyz"))[0] == 503
        assert (await gateway.ask("GET", "/healthz"))[0] == 200


async def test_gateway_is_ready_once_connected(gateway: Served) -> None:
    assert (await gateway.ask("GET", "/readyz"))[0] == 200


@pytest.mark.parametrize(
    ("sent", "kept"), [("a-1_B.c", True), ("x" * 64, True), (None, False), ("x" * 65, False), ("a b", False)]
)
async def test_correlation_id_goes_in_and_out(gateway: Served, sent: str | None, kept: bool) -> None:
    _, headers, _ = await gateway.ask("GET", "/read/a", headers={"X-Correlation-ID": sent} if sent else {})
    assert (headers["X-Correlation-ID"] == sent) is kept
    assert gateway.backend.metadata["x-correlation-id"] == headers["X-Correlation-ID"]
    _, failed, _ = await gateway.ask("GET", "/nowhere", headers={"X-Correlation-ID": sent} if sent else {})
    assert (failed["X-Correlation-ID"] == sent) is kept


async def test_only_named_headers_pass_to_the_backend(gateway: Served) -> None:
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await gateway.ask(
        "GET",
        "/read/a",
        headers={
            "Authorization": "Bearer t",
            "Traceparent": traceparent,
            "X-Forwarded-For": "6.6.6.6",
            "X-Astra-User": "admin",
            "Grpc-Tags-Bin": "AA",
            "X-Secret-Bin": "AA",
            "TE": "trailers",
            "X-Other": "1",
        },
    )
    seen = {name: value for name, value in gateway.backend.metadata.items() if name != "x-correlation-id"}
    assert seen.pop("user-agent")
    assert seen == {"authorization": "Bearer t", "traceparent": traceparent, "x-forwarded-for": "127.0.0.1"}


async def test_idempotency_key_becomes_the_request_id(gateway: Served) -> None:
    for body, wanted in (({}, "key-1"), ({"requestId": "mine"}, "mine")):
        await gateway.ask("POST", "/shelves/1/books", json=body, headers={"Idempotency-Key": "key-1"})
        assert gateway.backend.seen[-1].request_id == wanted


@pytest.mark.parametrize(
    ("headers", "data", "http", "reason"),
    [
        ({"Content-Type": "text/plain"}, b"{}", 415, "NOT_JSON"),
        ({"Content-Type": "application/json; charset=latin-1"}, b"{}", 415, "NOT_JSON"),
        ({"Content-Type": "application/vnd.x+json"}, b"{nope", 400, "INVALID_JSON"),
        ({"Content-Type": "application/json"}, b'{"nope": 1}', 400, "UNKNOWN_FIELD"),
        ({"Content-Type": "application/json"}, b" " * 100_001, 413, "BODY_TOO_LARGE"),
        ({"Content-Type": "application/json", "X-Server-Timeout": "soon"}, b"{}", 400, "INVALID_HEADER"),
        ({"Content-Type": "application/json", "Grpc-Timeout": "5"}, b"{}", 400, "INVALID_HEADER"),
    ],
)
async def test_bad_request_never_reaches_the_backend(
    gateway: Served, headers: dict[str, str], data: bytes, http: int, reason: str
) -> None:
    status, _, body = await gateway.ask("POST", "/shelves/1/books", data=data, headers=headers)
    assert (status, body["details"][0]["reason"]) == (http, reason)
    assert not gateway.backend.seen


async def test_body_of_unknown_length_has_the_same_limit(gateway: Served) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b" " * 10_000

    packed = gzip.compress(b" " * 1_000_000)
    headers = {"Content-Type": "application/json"}
    for data, packing in ((chunks(), {}), (packed, {"Content-Encoding": "gzip"})):
        status, _, body = await gateway.ask("POST", "/shelves/1/books", data=data, headers=headers | packing)
        assert (status, body["details"][0]["reason"]) == (413, "BODY_TOO_LARGE")


@pytest.mark.parametrize(
    ("request_text", "http", "reason"),
    [
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n", 414, "PATH_TOO_LONG"),
        (b"GET / HTTP/1.1\r\nX-A: /" + b"a" * 20_000 + b"\r\n\r\n", 431, "HEADER_TOO_LARGE"),
        (b"GET / HTTP/1.1\r\n" + b"X-A: a\r\n" * 200 + b"\r\n", 431, "TOO_MANY_HEADERS"),
        (b"\x16\x03\x01 nonsense\r\n\r\n", 400, "INVALID_HTTP"),
    ],
)
async def test_what_fails_before_any_handler_has_the_one_shape(
    gateway: Served, request_text: bytes, http: int, reason: str
) -> None:
    head, _, body = (await gateway.raw(request_text)).partition(b"\r\n\r\n")
    assert head.split()[1] == str(http).encode()
    assert b"application/json" in head
    assert b"X-Correlation-ID" in head
    assert json.loads(body)["details"][0]["reason"] == reason


async def test_failure_is_a_problem_for_clients_that_ask_for_it(gateway: Served) -> None:
    _, headers, body = await gateway.ask("GET", "/nowhere", headers={"Accept": "application/problem+json, */*"})
    assert headers["Content-Type"] == "application/problem+json"
    assert (body["status"], body["title"], body["code"]) == (404, "Not Found", 5)


async def test_head_is_a_get_without_its_body(gateway: Served) -> None:
    got, head = [await gateway.ask(method, "/read/a") for method in ("GET", "HEAD")]
    assert head[2] is None
    assert head[1]["Content-Length"] == got[1]["Content-Length"] == "19"


async def test_known_path_with_another_method_is_405(gateway: Served) -> None:
    status, headers, body = await gateway.ask("DELETE", "/read/a")
    assert (status, headers["Allow"], body["code"]) == (405, "GET, HEAD, OPTIONS", 12)
    status, headers, _ = await gateway.ask("OPTIONS", "/read/a")
    assert (status, headers["Allow"]) == (204, "GET, HEAD, OPTIONS")


@pytest.mark.parametrize(("origin", "let_in"), [("https://app.example", True), ("https://evil.example", False)])
async def test_cors_is_for_configured_origins(gateway: Served, origin: str, let_in: bool) -> None:
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    status, headers, _ = await gateway.ask("OPTIONS", "/shelves/1/books", headers=asked)
    assert status == 204
    assert headers.get("Access-Control-Allow-Methods") == ("POST" if let_in else None)
    for path in ("/read/a", "/nowhere"):
        _, headers, _ = await gateway.ask("GET", path, headers={"Origin": origin})
        assert headers.get("Access-Control-Allow-Origin") == (origin if let_in else None)
        assert "Origin" in headers["Vary"]


@pytest.mark.parametrize("headers", [{"X-Server-Timeout": "0.2"}, {"Grpc-Timeout": "200m"}])
async def test_client_sets_the_deadline(gateway: Served, headers: dict[str, str]) -> None:
    async def waits(request: Any, context: Any) -> Any:
        await asyncio.Event().wait()

    gateway.backend.answer = waits
    status, _, body = await gateway.ask("GET", "/read/a", headers=headers)
    assert (status, body["code"]) == (504, 4)


async def test_client_that_goes_away_cancels_the_call(gateway: Served) -> None:
    started = asyncio.Event()

    async def waits(request: Any, context: Any) -> Any:
        started.set()
        await asyncio.Event().wait()

    gateway.backend.answer = waits
    asking = asyncio.create_task(gateway.ask("GET", "/read/a"))
    await asyncio.wait_for(started.wait(), 5)
    asking.cancel()
    await asyncio.wait_for(gateway.backend.cancelled.wait(), 5)


async def _asked_until_refused(client: aiohttp.ClientSession, port: int) -> None:
    while True:
        async with client.get(f"http://127.0.0.1:{port}/healthz", headers={"Connection": "close"}):
            pass


async def test_process_drains_on_sigterm_and_exits_cleanly(gateway: Served, tmp_path: Any) -> None:
    described = tmp_path / "set.binpb"
    described.write_bytes(RULES)
    started, go_on = asyncio.Event(), asyncio.Event()

    async def waits(request: Any, context: Any) -> Any:
        started.set()
        await go_on.wait()
        return request

    gateway.backend.answer = waits
    arguments = ["--upstream", gateway.backend.address, "--port", "0", "--host", "127.0.0.1"]
    command = [sys.executable, "-m", "gateway", "--descriptors", described, *arguments]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, env=os.environ)
    try:
        assert process.stdout is not None
        serving = json.loads(await asyncio.wait_for(process.stdout.readline(), 20))
        port = serving["addresses"][0][1]
        async with aiohttp.ClientSession() as client:
            asking = asyncio.create_task(client.get(f"http://127.0.0.1:{port}/read/a"))
            await asyncio.wait_for(started.wait(), 10)
            process.send_signal(signal.SIGTERM)
            draining = json.loads(await asyncio.wait_for(process.stdout.readline(), 10))
            assert draining["event"] == "draining"
            with pytest.raises(aiohttp.ClientConnectorError):
                await asyncio.wait_for(_asked_until_refused(client, port), 10)
            go_on.set()
            async with await asyncio.wait_for(asking, 10) as response:
                assert await response.json() == {"stringValue": "a"}
        assert await asyncio.wait_for(process.wait(), 10) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
