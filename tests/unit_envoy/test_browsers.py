"""What others than gRPC clients get of the public listener, and what Prometheus gets of it all."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import aiohttp
import grpc
import pytest
import pytest_asyncio

from services.mesh import Mesh
from tests.unit_envoy.door import Echo, Issuer, RunningEnvoy, call, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUOTE = "/astra.trading.v1.TradingService/GetQuote"
GRPC_WEB = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
EMPTY = b"\0\0\0\0\0"
ORIGIN = "https://app.example.com"


@dataclass
class Page:
    """What a page can do: HTTP to the public listener."""

    envoy: RunningEnvoy
    http: aiohttp.ClientSession

    async def ask(
        self, method: str, path: str, headers: dict[str, str], body: bytes = b""
    ) -> tuple[int, dict[str, str], bytes]:
        url = f"http://{self.envoy.mesh.addresses['envoy-public']}{path}"
        async with self.http.request(method, url, headers=headers, data=body) as got:
            return got.status, {key.lower(): value for key, value in got.headers.items()}, await got.read()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Page]:
    mesh = replace(Mesh.at(tmp_path_factory.mktemp("mesh"), free_ports=True), cors_origins=(ORIGIN,))
    envoy, trading = RunningEnvoy(mesh, Issuer("services", kid="bridge")), Echo("trading")
    await trading.start(mesh.port("trading"))
    try:
        await envoy.start()
        channel = envoy.channel("envoy-public")

        async def answers() -> bool:
            return (await call(channel, QUOTE)).code is grpc.StatusCode.OK

        await until(answers)
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as http:
            yield Page(envoy, http)
    finally:
        await envoy.stop()
        await trading.stop()


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("POST", QUOTE, {"content-type": "application/json"}),
        ("POST", "/v1/users", {"content-type": "application/json"}),
        ("GET", "/v1/markets/STRK/quote", {}),
    ],
)
async def test_json_is_told_where_to_go(page: Page, method: str, path: str, headers: dict[str, str]) -> None:
    status, _, body = await page.ask(method, path, headers, b"{}" if method == "POST" else b"")
    assert status == 415
    assert b"gateway" in body


async def test_grpc_web_is_answered_and_its_errors_too(page: Page) -> None:
    status, headers, body = await page.ask("POST", QUOTE, {**GRPC_WEB, "origin": ORIGIN}, EMPTY)
    assert (status, headers["content-type"]) == (200, "application/grpc-web+proto")
    assert b'"service": "trading"' in body
    assert b"grpc-status:0" in body
    assert headers["access-control-allow-origin"] == ORIGIN
    assert "grpc-status" in headers["access-control-expose-headers"]
    refused = await page.ask("POST", "/astra.trading.v1.TradingService/GetTrade", GRPC_WEB, EMPTY)
    assert refused[1]["grpc-status"] == str(grpc.StatusCode.UNAUTHENTICATED.value[0])


@pytest.mark.parametrize(("origin", "allowed"), [(ORIGIN, True), ("https://elsewhere.example", False)])
async def test_preflight_tells_a_page_of_a_known_origin_what_it_may_send(
    page: Page, origin: str, allowed: bool
) -> None:
    asked = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,x-grpc-web",
    }
    status, headers, _ = await page.ask("OPTIONS", QUOTE, asked)
    assert (headers.get("access-control-allow-origin") == origin) is allowed
    if allowed:
        assert status == 200
        assert {"authorization", "x-grpc-web"} <= set(re.split(r",\s*", headers["access-control-allow-headers"]))


async def test_statistics_tell_service_method_and_code_apart(page: Page) -> None:
    await call(page.envoy.channel("envoy-public"), QUOTE)
    url = f"http://{page.envoy.mesh.addresses['envoy-admin']}/stats/prometheus?usedonly"
    async with page.http.get(url) as got:
        text = await got.text()
    lines = [line for line in text.splitlines() if line.startswith("envoy_cluster_grpc{") and "GetQuote" in line]
    assert lines, text
    labels = dict(re.findall(r'(\w+)="([^"]*)"', next(line for line in lines if 'grpc_code="0"' in line)))
    assert labels == {
        "envoy_cluster_name": "trading",
        "grpc_service": "astra.trading.v1.TradingService",
        "grpc_method": "GetQuote",
        "grpc_code": "0",
    }
    assert not re.search(r"^envoy_\w*astra_", text, re.MULTILINE), "a name holds what a label should"
