"""What the mesh costs a call: straight to a service, through Envoy, with everything it checks, and with mTLS."""

import asyncio
import os
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc
import yaml
from astra.trading.v1.trading_service_pb2 import GetQuoteRequest

from envoy import auth, limits
from envoy.notation import to_yaml
from envoy.policy import Policy
from envoy.render import Rendering
from services.contracts import rpcs
from services.mesh import LIMITS, ROOT, Mesh
from services.runtime.certificates import caller_credentials, make_certificates, server_context, server_name
from services.runtime.credentials import make_credentials
from tests.bench.processes import cpu_seconds, rss_mb
from tests.bench.results import Result, report
from tests.unit_envoy.door import Issuer, Jwks, RunningEnvoy, until

ROUNDS = 5
SATURATED_SECONDS = 1.5
SINGLE_CALLS = 300
CHANNELS, CALLERS = 4, 32
QUOTE = "/astra.trading.v1.TradingService/GetQuote"
REQUEST = GetQuoteRequest(symbol="BTC").SerializeToString()
UNREACHED = 1_000_000_000


@dataclass
class Side:
    """One way to the service."""

    name: str
    channels: list[grpc.aio.Channel]
    metadata: tuple[tuple[str, str], ...] = ()
    envoy_pid: int = 0
    calls_per_second: list[float] = field(default_factory=list)
    single_ms: list[float] = field(default_factory=list)
    envoy_us: list[float] = field(default_factory=list)

    async def call(self, number: int = 0) -> None:
        method: Any = self.channels[number % len(self.channels)].unary_unary(QUOTE)
        await method(REQUEST, metadata=self.metadata, timeout=10)

    async def answers(self) -> bool:
        try:
            for number in range(len(self.channels)):
                await self.call(number)
        except grpc.aio.AioRpcError:
            return False
        return True

    async def measure(self) -> None:
        """Measures one round: 32 callers for a while, then one."""
        cpu = cpu_seconds([self.envoy_pid]) if self.envoy_pid else 0.0
        begun, done = time.perf_counter(), 0

        async def caller(number: int) -> None:
            nonlocal done
            while time.perf_counter() < begun + SATURATED_SECONDS:
                await self.call(number)
                done += 1

        await asyncio.gather(*(caller(number) for number in range(CALLERS)))
        self.calls_per_second.append(done / (time.perf_counter() - begun))
        if self.envoy_pid:
            self.envoy_us.append((cpu_seconds([self.envoy_pid]) - cpu) / done * 1e6)
        for _ in range(SINGLE_CALLS):
            sent = time.perf_counter()
            await self.call()
            self.single_ms.append((time.perf_counter() - sent) * 1000)


class CheckingEnvoy(RunningEnvoy):
    """An Envoy that asks of the measured rpc all it can ask: a token, a role, and room in a limit."""

    def change(self) -> None:
        tree = yaml.safe_load(self.rendering.files[self.rendering.bootstrap])
        found = rpcs()
        extra = {
            **auth.per_route(auth.CALLER),
            **auth.access_of(found["/astra.trading.v1.TradingService/GrantPracticeFunds"]),
            **limits.counted_locally(found["/astra.trading.v1.TradingService/ExecuteTrade"], self.mesh, Policy()),
        }
        for listener in tree["static_resources"]["listeners"]:
            manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
            for host in manager["route_config"]["virtual_hosts"]:
                for route in host["routes"]:
                    if route["match"].get("path") == QUOTE:
                        route["typed_per_filter_config"] = extra
        files = {**self.rendering.files, self.rendering.bootstrap: to_yaml(tree)}
        self.rendering = Rendering(self.rendering.bootstrap, files)


async def main() -> None:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sides = await _sides(folder, stack)
        for _ in range(ROUNDS):
            for side in sides:
                await side.measure()
        memory = rss_mb(sides[-1].envoy_pid)
    results = []
    direct, *others = sides
    rate, single = statistics.median(direct.calls_per_second), statistics.median(direct.single_ms)
    results.append(Result(name="direct: calls/s with 32 callers", value=rate, unit="calls/s"))
    results.append(Result(name="direct: p50 of a single call", value=single, unit="ms"))
    for side in others:
        last = side is others[-1]
        ratios = [one / by for one, by in zip(side.calls_per_second, direct.calls_per_second, strict=True)]
        added = statistics.median(side.single_ms) - single
        name = side.name
        results += [
            Result(
                name=f"{name}: of the direct calls/s",
                value=statistics.median(ratios),
                unit="×",
                goal=">= 0.65" if last else None,
            ),
            Result(name=f"{name}: added p50", value=added, unit="ms", goal="<= 1" if last else None),
        ]
        if side.envoy_pid:
            cpu = statistics.median(side.envoy_us)
            goal = "<= 350" if last else None
            results.append(Result(name=f"{name}: Envoy's CPU a call", value=cpu, unit="µs", goal=goal))
    secured = next(side for side in sides if side.name == "direct with mTLS")
    ratios = [one / by for one, by in zip(others[-1].calls_per_second, secured.calls_per_second, strict=True)]
    name = f"{others[-1].name}: of the calls/s that are direct with mTLS"
    results.append(Result(name=name, value=statistics.median(ratios), unit="×"))
    results.append(Result(name="Envoy's memory", value=memory, unit="MB", goal="<= 100"))
    samples = {side.name: {"calls_per_second": side.calls_per_second, "envoy_us": side.envoy_us} for side in sides}
    report("mesh", results, samples)


async def _sides(folder: Path, stack: AsyncExitStack) -> list[Side]:
    users, processes = Issuer("users"), Issuer("services", kid="bridge")
    raised = dict.fromkeys(LIMITS, UNREACHED)
    plain = replace(Mesh.at(folder / "plain", free_ports=True), limits=raised)
    secret = replace(Mesh.at(folder / "secret", free_ports=True), limits=raised, mtls=True)
    other = Mesh.at(folder / "other", free_ports=True)
    # Checks on the way to the plain service: another Envoy, the same service.
    checked = replace(
        plain,
        state_dir=other.state_dir,
        addresses={**other.addresses, "trading": plain.addresses["trading"]},
    )
    make_certificates(secret)
    for mesh in (plain, secret):
        make_credentials(mesh)
        await _serve(mesh, stack)
    token = users.token(sub="bench", roles="user admin", exp=int(time.time()) + 3600)
    bearer = (("authorization", f"Bearer {token}"),)
    trading = secret.addresses["trading"]
    sides = [
        Side("direct", _channels(plain.addresses["trading"])),
        # What a caller pays that does itself what Envoy does for it.
        Side("direct with mTLS", _channels(trading, caller_credentials(secret), server_name("trading"))),
    ]
    for name, mesh, kind, metadata in (
        ("Envoy", plain, RunningEnvoy, ()),
        ("Envoy with token, role and limit", checked, CheckingEnvoy, bearer),
        ("Envoy with all that and mTLS", secret, CheckingEnvoy, bearer),
    ):
        jwks = Jwks(users)
        await jwks.start(mesh.port("user-jwks"), server_context(mesh, "user-jwks"))
        stack.push_async_callback(jwks.stop)
        envoy = kind(mesh, processes)
        if isinstance(envoy, CheckingEnvoy):
            envoy.change()
        await envoy.start()
        stack.push_async_callback(envoy.stop)
        sides.append(Side(name, _channels(mesh.addresses["envoy-public"]), metadata, envoy.pid))
    for side in sides:
        await until(side.answers, seconds=20)
        if side.metadata and await replace(side, metadata=()).answers():
            raise SystemExit(f"{side.name}: a call without a token is let in, so nothing is measured")
        for channel in side.channels:
            stack.push_async_callback(channel.close)
    return sides


async def _serve(mesh: Mesh, stack: AsyncExitStack) -> None:
    command = [sys.executable, "-m", "services", "serve", "trading", "--role", "serve"]
    environment = {**os.environ, "ASTRA_MESH": str(mesh.save())}
    with (mesh.state_dir / "trading.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, env=environment, stdout=log, stderr=asyncio.subprocess.STDOUT
        )

    async def stop() -> None:
        process.kill()
        await process.wait()

    stack.push_async_callback(stop)


def _channels(
    address: str, credentials: grpc.ChannelCredentials | None = None, name: str = ""
) -> list[grpc.aio.Channel]:
    options = [("grpc.use_local_subchannel_pool", 1)]
    if credentials is None:
        return [grpc.aio.insecure_channel(address, options=options) for _ in range(CHANNELS)]
    options.append(("grpc.ssl_target_name_override", name))  # type: ignore[arg-type]
    return [grpc.aio.secure_channel(address, credentials, options=options) for _ in range(CHANNELS)]


if __name__ == "__main__":
    asyncio.run(main())
