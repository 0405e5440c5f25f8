"""Benchmark of whole chains: story 1 by REST through everything, at a steady rate; then idle; then under load.

Times of effects are those of their stream ids, set when the effect was recorded in its service's transaction; "seen" is
when a reader blocked on the streams had the entry.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from astra.trading.v1.events_pb2 import PositionUpdated, TradeExecuted
from redis import Redis

from services import contracts
from services.local import LocalMesh
from services.mesh import Mesh
from services.runtime.context import Context
from services.runtime.money import to_money
from services.runtime.redis_client import connection_options
from services.runtime.store import Store
from services.runtime.transaction import Tx
from tests.bench.processes import child_of, cpu_seconds, rss_mb
from tests.bench.results import Result, report
from tests.story.chains import FUNDS_USD, STORY_1, expected_of_trade
from tests.story.play import Stage
from tests.story.rest import Session
from tests.story.streams import Observed

CHAINS = 200
PER_SECOND = 5
USERS = 24
"""So many that none makes the 10 trades that unlock an achievement: its events would join the chain."""
IDLE_SECONDS = 15.0
COMMITS = 200
COMMITS_PER_SECOND = 20
LOAD_SECONDS = 30.0
EVENTS_PER_SECOND = 1000
EVENTS_PER_TRADE = 6
LATE_SECONDS = 5.0
"""A lag that lasts longer is told group by group."""
DRAIN_SECONDS = 60.0
"""How long the lag may take to return to 0 before the measurement gives up."""


async def steady_chains(stage: Stage) -> list[list[Observed]]:
    """Makes trades at a steady rate and returns the events of each chain."""
    (act,) = STORY_1
    users = [await _funded(stage, f"chain-{number}") for number in range(USERS)]
    await stage.onlooker.look_until_quiet(time.monotonic() + 30)
    names = [f"bench-chain.{number}" for number in range(CHAINS)]
    count = len(expected_of_trade(act))

    async def trade() -> None:
        begun = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for number, name in enumerate(names):
                await asyncio.sleep(max(0.0, begun + number / PER_SECOND - time.monotonic()))
                session = users[number % USERS]
                tasks.create_task(stage.rest.trade(session, act.symbol, act.amount_usd, correlation_id=name))

    async with asyncio.TaskGroup() as tasks:
        trading = tasks.create_task(trade())
        deadline = time.monotonic() + CHAINS / PER_SECOND + 30
        await stage.onlooker.look_until(
            lambda: trading.done() and all(len(stage.onlooker.of(name)) >= count for name in names[-20:]), deadline
        )
    await stage.onlooker.look_until_quiet(time.monotonic() + 30)
    chains = [stage.onlooker.of(name) for name in names]
    wrong = [name for name, chain in zip(names, chains, strict=True) if len(chain) != count]
    if wrong:
        raise SystemExit(f"{len(wrong)} chains have not exactly {count} events: {', '.join(wrong[:5])}")
    return chains


async def _funded(stage: Stage, username: str) -> Session:
    await stage.rest.register(username)
    session = await stage.rest.login(username)
    await stage.rest.fund(stage.admin, session.user_id, FUNDS_USD)
    return session


async def commits(stage: Stage) -> list[float]:
    """Commits events one by one; returns the ms from each commit, when its caller has it, to its entry being read."""
    mesh = stage.running.mesh
    store = Store(mesh.database("trading"), domain="trading")
    times_ms = []
    with Redis.from_url(mesh.redis_url, **connection_options(mesh, "reader")) as redis:
        try:
            for _ in range(COMMITS):
                last = await asyncio.to_thread(_last_id, redis)
                reading = asyncio.create_task(asyncio.to_thread(_next_entry_ms, redis, last))
                await asyncio.sleep(1 / COMMITS_PER_SECOND)
                await store.write(_move, context=Context(correlation_id="bench-commit"))
                committed_ms = time.time() * 1000
                times_ms.append(max(0.0, await reading - committed_ms))
        finally:
            await store.close()
    return times_ms


def _last_id(redis: Redis) -> bytes:
    rows: Any = redis.xrevrange(_MOVED, count=1)
    return bytes(rows[0][0])


def _next_entry_ms(redis: Redis, last: bytes) -> float:
    """Blocks a thread until the stream has one more entry; returns when that is, ms since the epoch."""
    if not redis.xread({_MOVED: last}, block=5000):
        raise SystemExit("an event that was committed did not come within 5 s")
    return time.time() * 1000


_MOVED = contracts.stream_of(PositionUpdated)


def _move(tx: Tx) -> None:
    """Records an event that sets nothing off."""
    tx.record(PositionUpdated(trade_id=tx.new_id(), user_id="bench-commit", symbol="STRK", direction="DIRECTION_LONG"))


async def load(stage: Stage) -> tuple[float, float]:
    """Offers trades at EVENTS_PER_SECOND, effects included; returns the events/s and the seconds to lag 0 after."""
    store = Store(stage.running.mesh.database("trading"), domain="trading")
    trades_per_second = EVENTS_PER_SECOND / EVENTS_PER_TRADE
    begun, done = time.monotonic(), 0
    try:
        while (elapsed := time.monotonic() - begun) < LOAD_SECONDS:
            due = int(elapsed * trades_per_second) - done
            await asyncio.gather(
                *(store.write(_trade, context=Context(correlation_id=f"load.{done + n}")) for n in range(due))
            )
            done += due
            await asyncio.sleep(0.02)
        ended, left = time.monotonic(), await stage.onlooker.unfinished()
        while left and time.monotonic() < ended + DRAIN_SECONDS:
            await asyncio.sleep(0.1)
            late, left = left, await stage.onlooker.unfinished()
        if time.monotonic() - ended > LATE_SECONDS:
            print("last to finish:", *(f"{group}: {what}" for group, what in late.items()), sep="\n  ")
        return done * EVENTS_PER_TRADE / LOAD_SECONDS, time.monotonic() - ended
    finally:
        await store.close()


def _trade(tx: Tx) -> None:
    trade_id = tx.new_id()
    user_id = f"load-{int(trade_id[-3:], 16)}"
    amount = to_money(STORY_1[0].amount_usd)
    executed = TradeExecuted(
        trade_id=trade_id,
        user_id=user_id,
        symbol="STRK",
        direction="DIRECTION_LONG",
        mode="TRADING_MODE_PRACTICE",
        amount=amount,
        fee=to_money(STORY_1[0].fee_usd),
        entry_price="1",
        portfolio_value=to_money(FUNDS_USD),
    )
    cause = tx.record(executed)
    tx.record(
        PositionUpdated(trade_id=trade_id, user_id=user_id, symbol="STRK", direction="DIRECTION_LONG", amount=amount),
        cause=cause,
    )


async def measure(running: LocalMesh) -> tuple[list[Result], dict[str, object]]:
    async with Stage(running) as stage:
        chains = await steady_chains(stage)
        recorded = [max(entry.recorded_ms for entry in chain) - _trade_ms(chain) for chain in chains]
        seen = [max(entry.seen_ms for entry in chain) - _trade_ms(chain) for chain in chains]
        reactions = [ms for chain in chains for ms in _reactions_ms(chain)]
        appended = await commits(stage)
        pids = {**running.pids(), "envoy": child_of(running.pids()["envoy"])}
        await stage.onlooker.look_until_quiet(time.monotonic() + 30)
        before = {name: cpu_seconds([pid]) for name, pid in pids.items()}
        await asyncio.sleep(IDLE_SECONDS)
        idle = {name: (cpu_seconds([pid]) - before[name]) / IDLE_SECONDS * 100 for name, pid in pids.items()}
        offered, drain_seconds = await load(stage)
        memory = {name: rss_mb(pid) for name, pid in pids.items()}
    services = [mb for name, mb in memory.items() if name not in {"redis", "envoy"}]
    results = [
        Result(name="trade to last effect, p50", value=statistics.median(recorded), unit="ms", goal="<= 25"),
        Result(name="trade to last effect, mean", value=statistics.mean(recorded), unit="ms", goal="<= 100"),
        Result(name="trade to last effect, max", value=max(recorded), unit="ms", goal="<= 200"),
        Result(name="trade to last effect seen in its stream, p50", value=statistics.median(seen), unit="ms"),
        Result(name="commit to stream, p50", value=statistics.median(appended), unit="ms", goal="<= 1"),
        Result(name="commit to stream, p99", value=_p99(appended), unit="ms"),
        Result(name="one reaction, event to effect, p50", value=statistics.median(reactions), unit="ms", goal="<= 10"),
        Result(name="one reaction, event to effect, p99", value=_p99(reactions), unit="ms"),
        Result(name="the idle mesh, all processes", value=sum(idle.values()), unit="% CPU", goal="<= 5"),
        Result(name="events offered under load", value=offered, unit="events/s", goal=f">= {EVENTS_PER_SECOND * 0.99}"),
        Result(name="lag back to 0 after the load", value=drain_seconds, unit="s", goal="<= 5"),
        Result(name="Redis", value=memory.get("redis", 0.0), unit="MB", goal="<= 500"),
        Result(name="largest service", value=max(services), unit="MB", goal="<= 512"),
    ]
    samples = {
        "last_effect_recorded_ms": recorded,
        "last_effect_seen_ms": seen,
        "commit_to_stream_ms": appended,
        "reaction_ms": reactions,
        "rss_mb": memory,
        "idle_cpu_pct": idle,
    }
    return results, samples


def _reactions_ms(chain: Sequence[Observed]) -> list[float]:
    """Returns the ms from each event to each effect that another domain's reaction to it recorded."""
    by_id = {entry.envelope.id: entry for entry in chain}
    pairs = [(by_id.get(effect.envelope.causation_id), effect) for effect in chain]
    return [
        float(effect.recorded_ms - cause.recorded_ms)
        for cause, effect in pairs
        if cause is not None and cause.envelope.source != effect.envelope.source
    ]


def _p99(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


def _trade_ms(chain: Sequence[Observed]) -> int:
    return next(entry.recorded_ms for entry in chain if entry.name == "TradeExecuted")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="astra-bench-") as folder:
        mesh = Mesh.at(Path(folder), free_ports=True)
        with LocalMesh(mesh) as running:
            results, samples = asyncio.run(measure(running))
    report("chain", results, samples)


if __name__ == "__main__":
    main()
