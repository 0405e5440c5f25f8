"""Benchmark of the gateway against Envoy's transcoder and a FastAPI handler: the same backend, alternating, one process
each. Then the codec against `json_format`, and a lookup in a large table of routes."""

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from astra.trading.v1.trading_service_pb2 import ExecuteTradeResponse
from google.api import annotations_pb2
from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from gateway.api import registry_of
from gateway.parser import parse
from gateway.router import Router, RouterOptions
from services.contracts import DESCRIPTORS
from services.mesh import ROOT
from tests.bench.processes import cpu_seconds
from tests.bench.results import Result, report
from tests.gateway_peers.constant_backend import REPLIES, TRADE
from tests.gateway_peers.envoy_transcoder import free_port, listening, transcoder

ROUNDS = 5
SECONDS = 1.5
"""How long each side of a round runs."""
CONNECTIONS = 16
SERVICE = "astra.trading.v1.TradingService"
BODY = json.dumps(
    {
        "requestId": "r-1",
        "symbol": "STRK",
        "amount": {"currencyCode": "USD", "amount": "1500.00"},
        "direction": "DIRECTION_LONG",
        "mode": "TRADING_MODE_PRACTICE",
    }
).encode()
REQUESTS = {
    "nested": b"POST /v1/users/u-123/trades HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY),
    "small": b"GET /v1/markets/STRK/quote HTTP/1.1\r\nHost: x\r\n\r\n",
}


class Caller(asyncio.Protocol):
    """A connection that asks again as soon as it has the answer: little work of its own."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._buffer = b""
        self.answers = 0
        self.failed = ""
        self.until = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        if not head.startswith(b"HTTP/1.1 200") or not length:
            self.failed = (head + found + body)[:500].decode("latin-1")
            self._transport.close()
        elif len(body) >= int(length):
            self._buffer = b""
            self.answers += 1
            if time.perf_counter() < self.until:
                self._transport.write(self._request)
            else:
                self._transport.close()


def _same(caller: Caller) -> Caller:
    return caller


async def load(port: int, request: bytes, seconds: float) -> int:
    """Asks on every connection for a while and returns the number of answers."""
    loop = asyncio.get_running_loop()
    callers = []
    for _ in range(CONNECTIONS):
        caller = Caller(request)
        caller.until = time.perf_counter() + seconds
        await loop.create_connection(partial(_same, caller), "127.0.0.1", port)
        callers.append(caller)
    await asyncio.sleep(seconds + 0.2)
    for caller in callers:
        assert not caller.failed, caller.failed
    return sum(caller.answers for caller in callers)


def without_response_body() -> bytes:
    """Returns our descriptor set as Envoy's transcoder takes it: it serves no `response_body`."""
    described = FileDescriptorSet.FromString(DESCRIPTORS.read_bytes())
    for file in described.file:
        for service in file.service:
            for method in service.method:
                options: Any = method.options
                if options.HasExtension(annotations_pb2.http):
                    options.Extensions[annotations_pb2.http].response_body = ""
    return described.SerializeToString()


@asynccontextmanager
async def process(*command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'gen' / 'python'}"}
    pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    made = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=nothing, env=environment
    )
    try:
        yield made
    finally:
        if made.returncode is None:
            made.terminate()
        assert made.stdout is not None
        draining = asyncio.create_task(made.stdout.read())
        await made.wait()
        draining.cancel()


async def compare(folder: Path) -> tuple[dict[str, dict[str, list[float]]], dict[str, dict[str, list[float]]]]:
    """Returns CPU microseconds a request and requests a second, by message and side, one figure a round."""
    described = folder / "compared.binpb"
    described.write_bytes(without_response_body())
    async with AsyncExitStack() as stack:
        backend = await stack.enter_async_context(process(sys.executable, "-m", "tests.gateway_peers.constant_backend"))
        assert backend.stdout is not None
        address = f"127.0.0.1:{int(await backend.stdout.readline())}"
        sides: dict[str, tuple[int, int]] = {}
        options = ["--descriptors", str(described), "--upstream", address, "--host", "127.0.0.1"]
        for name, python, arguments in (
            ("gateway", sys.executable, ["-m", "gateway", *options, "--port"]),
            ("fastapi", str(ROOT / ".bench/bin/python"), ["-m", "tests.gateway_peers.fastapi_handler", address]),
        ):
            port = free_port()
            log = f"exec {python} {' '.join(arguments)} {port} >/dev/null"
            side = await stack.enter_async_context(process("sh", "-c", log))
            await listening(port, side, folder)
            sides[name] = port, side.pid
        peer = await stack.enter_async_context(
            transcoder(folder, described.read_bytes(), [SERVICE], address, access_log=True)
        )
        sides["envoy"] = peer.port, peer.pid
        cpu: dict[str, dict[str, list[float]]] = {m: {s: [] for s in sides} for m in REQUESTS}
        rate: dict[str, dict[str, list[float]]] = {m: {s: [] for s in sides} for m in REQUESTS}
        for message, request in REQUESTS.items():
            for port, _ in sides.values():
                await load(port, request, 0.3)
            for _ in range(ROUNDS):
                for name, (port, pid) in sides.items():
                    before = cpu_seconds([pid])
                    answers = await load(port, request, SECONDS)
                    cpu[message][name].append((cpu_seconds([pid]) - before) / answers * 1e6)
                    rate[message][name].append(answers / SECONDS)
        return cpu, rate


def microseconds(work: Callable[[], Any], times: int = 2000) -> float:
    started = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - started) / times * 1e6


def codec() -> dict[str, list[float]]:
    """Returns microseconds for one message, each way, of our codec and of `json_format`."""
    ours: Any = registry_of(DESCRIPTORS.read_bytes()).message("astra.trading.v1.ExecuteTradeResponse").type  # type: ignore[union-attr]
    payload, text = REPLIES["ExecuteTrade"], json.dumps({"trade": TRADE})
    works: dict[str, Callable[[], Any]] = {
        "ours to JSON": lambda: ours.from_binary(payload).to_json(),
        "json_format to JSON": lambda: json_format.MessageToJson(ExecuteTradeResponse.FromString(payload), indent=None),
        "ours from JSON": lambda: ours.from_json(text).to_binary(),
        "json_format from JSON": lambda: json_format.Parse(text, ExecuteTradeResponse()).SerializeToString(),
    }
    return {name: [microseconds(work) for _ in range(ROUNDS)] for name, work in works.items()}


def lookup() -> float:
    """Returns microseconds for the slowest of some lookups in a table of 14,000 routes."""
    router: Router[int] = Router(RouterOptions())
    for number in range(14_000):
        service, method = divmod(number, 20)
        router.add("GET", parse(f"/v1/service{service}/{{a}}/items{method}/{{b=x/*}}"), number)
    paths = ["/v1/service699/1/items19/x/2", "/v1/service0/1/items0/x/2", "/v1/service350/a%2Fb/items7/x/%41"]
    return max(microseconds(lambda path=path: router.find("GET", path)) for path in paths)  # type: ignore[misc]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        cpu, rate = asyncio.run(compare(Path(folder)))
    results = []
    for message in REQUESTS:
        used = {side: statistics.median(values) for side, values in cpu[message].items()}
        served = {side: statistics.median(values) for side, values in rate[message].items()}
        results += [Result(name=f"{message}: CPU, {s}", value=v, unit="µs/request") for s, v in used.items()]
        results += [Result(name=f"{message}: rate, {s}", value=v, unit="requests/s") for s, v in served.items()]
        ratios = (("envoy", "<= 1.0"), ("fastapi", "<= 0.4"))
        results += [
            Result(name=f"{message}: CPU to {side}'s", value=used["gateway"] / used[side], unit="×", goal=goal)
            for side, goal in ratios
        ]
        faster = served["gateway"] / served["fastapi"]
        results.append(Result(name=f"{message}: rate to fastapi's", value=faster, unit="×", goal=">= 2"))
    took = codec()
    for way, goal in (("to", ">= 4"), ("from", ">= 8")):
        ours, theirs = (statistics.median(took[f"{who} {way} JSON"]) for who in ("ours", "json_format"))
        results.append(Result(name=f"codec {way} JSON", value=ours, unit="µs"))
        results.append(Result(name=f"codec {way} JSON to json_format", value=theirs / ours, unit="×", goal=goal))
    results.append(Result(name="lookup in 14,000 routes", value=lookup(), unit="µs", goal="<= 100"))
    report("gateway", results, {"cpu_us": cpu, "rate": rate, "codec_us": took})


if __name__ == "__main__":
    main()
