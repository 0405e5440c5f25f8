"""A real Prometheus at a real mesh: what goes wrong is told, and told over; and every query has series that change."""

import asyncio
import json
import os
import signal
import sqlite3
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import redis

from services.local import LocalMesh, redis_server
from services.mesh import REPORTING, ROOT, Mesh
from services.runtime.redis_client import connection_options
from tests.story.chains import STORY_3
from tests.story.play import Stage
from tests.story.rest import PASSWORD, Refused, Session
from tests.system_alerts.scraping import Prometheus, scraping, until
from tests.unit_monitoring.queries import metrics_of, queries

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600), pytest.mark.long]

FIRES_SECONDS = 60.0
RESOLVES_SECONDS = 90.0
SEEN_SECONDS = 20.0
MAX_MEMORY = "64mb"
BALLAST_BYTES = 500_000
FULL = 0.85
"""Of the mesh's own Redis here, and what makes it nearly full."""
TRADES_OF_ONE = 15

STEADY = {
    "astra_kpi_goal": "a goal is a number of the domain",
    "astra_bus_stream_stopped": "nothing diverges here",
    "astra_bus_redis_persists": "the disk works",
    "astra_bus_cut_entries_total": "no stream reaches its cap",
    "astra_bus_lost_entries_total": "nothing is lost",
    "astra_bus_skipped_entries_total": "nothing is lost",
    "astra_bus_repaired_entries_total": "Redis keeps what it has",
    "astra_bus_purged_rows_total": "rows stay for 30 days",
    "astra_bus_trimmed_entries_total": "entries stay for ten minutes",
    "astra_bus_paused": "Redis is only nearly full",
    "astra_bus_redis_up": "Redis answers",
    "astra_certificate_expiry_timestamp_seconds": "certificates are as they were made",
    "astra_store_failed_commits_total": "the disks work",
    "astra_limit_hits_total": "counted by login alone, all at the start",
    "astra_registry_heartbeats_total": "heartbeats are heard",
    "astra_timer_overdue_seconds": "no timer is set",
    "envoy_http_local_rate_limit_rate_limited": "limits are raised for tests",
    "envoy_cluster_outlier_detection_ejections_active": "with one instance none is ejected",
    "envoy_cluster_circuit_breakers_default_rq_open": "the load is light",
    "envoy_cluster_circuit_breakers_default_rq_pending_open": "the load is light",
}
"""What does not change in these minutes, and why; its series are there all the same."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalMesh]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(redis_server, "MAX_MEMORY", MAX_MEMORY)
        with LocalMesh(Mesh.at(tmp_path_factory.mktemp("watched"), free_ports=True), ready_seconds=200) as running:
            yield running


@pytest.fixture(scope="module")
def prometheus(running: LocalMesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    port = Mesh.at(Path("unused"), free_ports=True).port("gateway")
    with scraping(running.mesh, tmp_path_factory.mktemp("prometheus"), port) as prometheus:
        yield prometheus


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(running: LocalMesh) -> AsyncIterator[Stage]:
    async with Stage(running) as stage:
        yield stage


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def traffic(stage: Stage) -> AsyncIterator[None]:
    """Trades and looks around all the time, whatever fails meanwhile."""
    task = asyncio.create_task(_busy(stage))
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _busy(stage: Stage) -> None:
    while True:
        with suppress(Refused, OSError, TimeoutError):
            user = await trader(stage)
            for _ in range(TRADES_OF_ONE):
                await stage.rest.trade(user, "STRK", Decimal(100), correlation_id=f"busy-{uuid.uuid4().hex[:12]}")
                await stage.rest.get("/v1/markets", session=user)
                await stage.rest.get(f"/v1/users/{user.user_id}/nfts", session=user)
                await asyncio.sleep(0.3)
        await asyncio.sleep(0.3)


async def trader(stage: Stage) -> Session:
    username = f"u{uuid.uuid4().hex[:12]}"
    await stage.rest.register(username)
    return await stage.rest.login(username)


async def operator(running: LocalMesh, *arguments: str) -> str:
    """Types `python -m bridge …` and returns what it prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bridge", *arguments),
        cwd=ROOT,
        env={**running.environment, "ASTRA_ADMIN_USERNAME": "first-admin", "ASTRA_ADMIN_PASSWORD": PASSWORD},
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    return out.decode()


async def told(prometheus: Prometheus, *names: str) -> None:
    """Waits until all these alerts fire."""
    fires = partial(lambda: set(names) <= prometheus.firing())
    await asyncio.to_thread(until, fires, f"{names} fire; {prometheus.firing()} do", FIRES_SECONDS)


async def told_over(prometheus: Prometheus, *names: str) -> None:
    """Waits until none of these alerts fires any more."""
    silent = partial(lambda: not set(names) & prometheus.firing())
    await asyncio.to_thread(until, silent, f"{names} resolve", RESOLVES_SECONDS)


@contextmanager
def stopped(running: LocalMesh, name: str) -> Iterator[None]:
    """Has a process hang."""
    pid = running.kill(name, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@asynccontextmanager
async def killed(running: LocalMesh, name: str) -> AsyncIterator[None]:
    """Kills a process again and again, as often as it is started anew."""

    async def kill() -> None:
        while True:
            with suppress(KeyError, ProcessLookupError):
                running.kill(name)
            await asyncio.sleep(0.2)

    task = asyncio.create_task(kill())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_every_process_is_scraped(prometheus: Prometheus, stage: Stage) -> None:
    outcome = await stage.play("story-3", STORY_3)
    assert len(outcome.observed) == 36
    everybody = {*REPORTING, "trading-react"}
    await asyncio.to_thread(until, lambda: everybody <= prometheus.up(), "every process is scraped", 30)
    quiet = {"EventBusStopped", "GroupBehind", "DeadLetters", "ServiceDown", "ProcessDown", "RedisMemoryHigh"}
    assert not quiet & prometheus.firing()


async def test_a_bridge_that_is_killed_stops_the_bus(prometheus: Prometheus, running: LocalMesh) -> None:
    async with killed(running, "bridge"):
        await told(prometheus, "ProcessDown", "EventBusStopped")
    await told_over(prometheus, "ProcessDown", "EventBusStopped")


async def test_a_group_that_is_stopped_falls_behind(prometheus: Prometheus, running: LocalMesh) -> None:
    with stopped(running, "trading-react"):
        await told(prometheus, "GroupBehind")
    await told_over(prometheus, "GroupBehind")


async def test_a_poisonous_event_becomes_a_dead_letter(
    prometheus: Prometheus, stage: Stage, running: LocalMesh
) -> None:
    user = await trader(stage)
    with closing(sqlite3.connect(running.mesh.database("financial"), timeout=10)) as database:
        database.execute(
            "CREATE TRIGGER poison BEFORE INSERT ON revenue"
            f" WHEN NEW.user_id = '{user.user_id}' BEGIN SELECT RAISE(ABORT, 'poisoned'); END"
        )
        database.commit()
        await stage.rest.trade(user, "STRK", Decimal(100), correlation_id="poisonous")
        await told(prometheus, "DeadLetters")
        database.execute("DROP TRIGGER poison")
        database.commit()
    names = [
        f"{letter['group']}/{letter['stream']}/{letter['id']}"
        for letter in map(json.loads, (await operator(running, "dead-letters", "list", "--json")).splitlines())
    ]
    assert len(names) == 1
    await operator(running, "dead-letters", "retry", *names)
    await told_over(prometheus, "DeadLetters")


async def test_a_redis_near_its_limit_is_told(prometheus: Prometheus, running: LocalMesh) -> None:
    mesh = running.mesh
    with redis.Redis.from_url(mesh.redis_url, **connection_options(mesh, "bridge")) as client:
        ballast: list[str] = []
        info: Any = client.info()
        while info["used_memory"] < FULL * info["maxmemory"]:
            ballast.append(f"astra.ballast.{len(ballast)}")
            client.set(ballast[-1], b"\0" * BALLAST_BYTES)
            info = client.info()
        await told(prometheus, "RedisMemoryHigh")
        client.delete(*ballast)
    await told_over(prometheus, "RedisMemoryHigh", "RedisMemoryFull")


async def test_a_service_that_hangs_is_down(prometheus: Prometheus, stage: Stage, running: LocalMesh) -> None:
    user = await trader(stage)
    with stopped(running, "nft"):
        await told(prometheus, "ServiceDown", "ProcessDown")
        asked = {"authorization": f"Bearer {user.token}"}
        async with aiohttp.ClientSession(f"http://{running.mesh.addresses['gateway']}", headers=asked) as client:
            for _ in range(3):
                async with client.get("/v1/nfts/none") as answer:
                    assert answer.status in (503, 504)
    await told_over(prometheus, "ServiceDown", "ProcessDown")


async def test_every_query_has_series_that_change(prometheus: Prometheus) -> None:
    """Of an alert, every metric it asks for has; it should itself mostly have none."""
    asked = {where: query.replace("$service", "trading") for where, query in queries().items()}
    asked |= {
        f"{where}, {name}": name
        for where, query in asked.items()
        for name in metrics_of(query)
        if where.startswith("rule ")
    }

    def wrong() -> list[str]:
        return list(filter(None, (judged(prometheus, where, query) for where, query in asked.items())))

    with suppress(AssertionError):  # what happened last takes a few scrapes to be seen
        await asyncio.to_thread(until, lambda: not wrong(), "every query has series", SEEN_SECONDS)
    left = await asyncio.to_thread(wrong)
    assert not left, "\n".join(left)


async def test_a_renamed_metric_is_caught_by_name(prometheus: Prometheus) -> None:
    """The control: the same look finds what nobody shows, and what never changes."""
    assert judged(prometheus, "planted", "rate(astra_bus_appended_total[1m])") == (
        "planted: no series of rate(astra_bus_appended_total[1m])"
    )
    assert judged(prometheus, "planted", "up * 0") == "planted: nothing changes in up * 0"


def judged(prometheus: Prometheus, where: str, query: str) -> str:
    """Tells what is wrong with a query; nothing when it has series that change."""
    name, _, metric = where.partition(", ")
    if name.startswith("rule ") and not metric and ":" not in name:
        return ""  # an alert's expression; its metrics are asked for one by one
    series = prometheus.series(query)
    if not series:
        return f"{where}: no series of {query}"
    steady = metrics_of(query) and metrics_of(query) <= STEADY.keys()
    if not steady and all(len(set(values)) < 2 for values in series):
        return f"{where}: nothing changes in {query}"
    return ""
