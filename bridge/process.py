"""The bridge process: a publisher for each service, and health checks."""

import asyncio
import random
import signal
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from bridge.backoff import Backoff
from bridge.bus.api import BusApi
from bridge.bus.wiring import build_bus
from bridge.guards import Gate, UnsafeRedis, refusals
from bridge.lag import run_lags
from bridge.outbox_client import OutboxClient
from bridge.publisher import Publisher
from bridge.settling import pause
from bridge.tail import TailClient
from bridge.trimming import Trimmer
from services import contracts
from services.mesh import SERVICES, Mesh
from services.runtime.certificates import server_credentials
from services.runtime.clock import wall_clock
from services.runtime.credentials import ServiceToken
from services.runtime.door import Door
from services.runtime.pulse import beating
from services.runtime.readings import CertificateReadings
from services.runtime.redis_client import connect
from services.runtime.server import Server
from services.telemetry import tracing
from services.telemetry.face import reading, shown

READY_EVERY_SECONDS = 1.0
READY_TIMEOUT_SECONDS = 1.0
RETRY_FIRST_SECONDS = 0.05
RETRY_CAP_SECONDS = 1.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridge:
    """What one bridge process is made of."""

    redis: Redis
    gate: Gate
    insist: bool
    """Whether a Redis is taken that may lose streams by itself."""
    tails: Sequence[TailClient]
    publishers: Sequence[Publisher]
    bus: BusApi
    trimmer: Trimmer
    outboxes: OutboxClient
    server: Server

    async def run(self, stop: asyncio.Event) -> None:
        """Publishes until the event is set. May be killed at any moment instead: nothing is lost or doubled."""
        try:
            ready = await self._is_ready()
            await self.server.start()
            await self.server.set_ready(ready)
            log.info("bridge.serving", address=self.server.address, ready=ready)
            if not await self._check_redis(stop):
                return
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(publisher.run(), name=publisher.service) for publisher in self.publishers]
                running.append(tasks.create_task(self.gate.run(self.redis), name="gate"))
                running.append(tasks.create_task(self.trimmer.run(), name="trimmer"))
                lags = run_lags(self.redis, list(contracts.events()))
                running.append(tasks.create_task(lags, name="lags"))
                running.append(tasks.create_task(self._watch_readiness(ready), name="readiness"))
                async with beating():
                    await stop.wait()
                self.bus.stop()
                await self.server.stop()
                for task in running:
                    task.cancel()
        finally:
            await self.close()

    async def close(self) -> None:
        await self.server.stop()
        for tail in self.tails:
            await tail.close()
        await self.bus.close()
        await self.outboxes.close()
        await self.redis.aclose()

    async def _check_redis(self, stop: asyncio.Event) -> bool:
        """Waits for Redis. Returns False at the stop. Raises `UnsafeRedis` if it may lose streams by itself."""
        while not stop.is_set():
            try:
                found = await refusals(self.redis)
            except (RedisError, OSError, TimeoutError):
                await pause(stop, RETRY_FIRST_SECONDS * 4)
                continue
            if found and not self.insist:
                raise UnsafeRedis("; ".join(found))
            for reason in found:
                log.warning("redis.unsafe", reason=reason)
            return True
        return False

    async def _watch_readiness(self, ready: bool) -> None:
        while True:
            await asyncio.sleep(READY_EVERY_SECONDS)
            if (now := await self._is_ready()) != ready:
                ready = now
                log.warning("bridge.readiness", ready=ready)
                await self.server.set_ready(ready)

    async def _is_ready(self) -> bool:
        """Tells whether everything that is recorded can be appended."""
        return not await self.unready()

    async def unready(self) -> str:
        """Tells why something cannot be appended; empty when all can."""
        try:
            async with asyncio.timeout(READY_TIMEOUT_SECONDS):
                await self.redis.ping()
        except (RedisError, OSError, TimeoutError) as error:
            return f"Redis: {error or type(error).__name__}"
        if self.gate.reason:
            return f"appends wait: {self.gate.reason}"
        stopped = [stream for publisher in self.publishers for stream in publisher.stopped]
        return f"stopped: {', '.join(stopped)}" if stopped else ""


def build(mesh: Mesh, *, address: str | None = None, insist: bool = False) -> Bridge:
    """Makes the bridge of a mesh, on its address there or on another one."""
    gate = Gate(insist=insist)
    redis = connect(mesh, "bridge", timeout_seconds=None)
    token = ServiceToken(mesh.keys_dir, "bridge")
    door = Door.of(mesh, "bridge")
    tails, publishers = [], []
    for service in SERVICES:
        streams = contracts.streams_of(service.name)
        if not streams:
            continue
        tails.append(TailClient(door, service.name, token.bearer))
        backoff = Backoff(RETRY_FIRST_SECONDS, RETRY_CAP_SECONDS, random.random)
        publishers.append(
            Publisher(service.name, streams=streams, tail=tails[-1], redis=redis, backoff=backoff, gate=gate)
        )
    outboxes = OutboxClient(door, token.bearer)
    trimmer = Trimmer(redis, list(contracts.events()), outboxes=outboxes, gate=gate, clock=wall_clock)
    bus = build_bus(mesh, redis, token.bearer, publishers, outboxes)
    return Bridge(
        redis=redis,
        gate=gate,
        insist=insist,
        tails=tails,
        publishers=publishers,
        trimmer=trimmer,
        outboxes=outboxes,
        bus=bus,
        server=Server(
            address or mesh.listens("bridge"),
            {"astra.bridge.v1.BusService": bus},
            credentials=server_credentials(mesh, "bridge"),
        ),
    )


async def serve(mesh: Mesh, *, address: str | None = None, insist: bool = False) -> None:
    """Runs the bridge until SIGTERM or SIGINT. Ends with a message when its address is taken or its Redis unsafe."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    bridge = build(mesh, address=address, insist=insist)
    # A second bridge has an address of its own, which tells it from the first.
    name = f"bridge-{address.rpartition(':')[2]}" if address else "bridge"
    try:
        with (
            tracing.exported("bridge", name),
            reading(CertificateReadings(mesh)),
            shown(mesh, name, "bridge", {"appends": bridge.unready}, apart=address is not None),
        ):
            await bridge.run(stop)
    except UnsafeRedis as error:
        raise SystemExit(f"the Redis is not safe: {error}; in development, `--insist` takes it as it is") from error
    except OSError as error:
        raise SystemExit(f"{error}; another bridge takes `--address HOST:PORT`") from error
    log.info("bridge.stopped")
