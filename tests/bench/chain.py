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

from astra.trading.v1.events_pb2 import PositionUpdated, TradeExecuted

from services.local import LocalMesh
from services.mesh import Mesh
from services.runtime.context import Context
from services.runtime.money import to_money
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
IDLE_SECONDS = 5.0
LOAD_SECONDS = 30.0
EVENTS_PER_SECOND = 1000
EVENTS_PER_TRADE = 6
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
        ended = time.monotonic()
        while await stage.onlooker.unfinished() and time.monotonic() < ended + DRAIN_SECONDS:  # noqa: ASYNC110 - in Redis
            await asyncio.sleep(0.1)
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
        appended = [entry.seen_ms - entry.envelope.time.ToMicroseconds() / 1000 for chain in chains for entry in chain]
        pids = {**running.pids(), "envoy": child_of(running.pids()["envoy"])}
        before = cpu_seconds(pids.values())
        await asyncio.sleep(IDLE_SECONDS)
        idle_pct = (cpu_seconds(pids.values()) - before) / IDLE_SECONDS * 100
        offered, drain_seconds = await load(stage)
        memory = {name: rss_mb(pid) for name, pid in pids.items()}
    services = [mb for name, mb in memory.items() if name not in {"redis", "envoy"}]
    results = [
        Result(name="trade to last effect, p50", value=statistics.median(recorded), unit="ms", goal="<= 25"),
        Result(name="trade to last effect, mean", value=statistics.mean(recorded), unit="ms", goal="<= 100"),
        Result(name="trade to last effect, max", value=max(recorded), unit="ms", goal="<= 200"),
        Result(name="trade to last effect seen in its stream, p50", value=statistics.median(seen), unit="ms"),
        Result(name="recorded to seen in the stream, p50", value=statistics.median(appended), unit="ms"),
        Result(name="the idle mesh, all processes", value=idle_pct, unit="% CPU", goal="<= 5"),
        Result(name="events offered under load", value=offered, unit="events/s", goal=f">= {EVENTS_PER_SECOND * 0.99}"),
        Result(name="lag back to 0 after the load", value=drain_seconds, unit="s", goal="<= 5"),
        Result(name="Redis", value=memory.get("redis", 0.0), unit="MB", goal="<= 500"),
        Result(name="largest service", value=max(services), unit="MB", goal="<= 512"),
    ]
    return results, {"last_effect_recorded_ms": recorded, "last_effect_seen_ms": seen, "rss_mb": memory}


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
