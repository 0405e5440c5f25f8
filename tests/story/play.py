"""Plays a story on a running mesh: prepares its users, makes its trades, waits, and compares."""

import asyncio
import os
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Self

from astra.gamification.v1.events_pb2 import LeaderboardUpdated

from services import contracts
from services.local import LocalMesh
from services.mesh import ROOT
from tests.story.chains import FUNDS_USD, Act, Expected, expected_of_award, expected_of_trade
from tests.story.check import chain_differences, stream_differences
from tests.story.rest import PASSWORD, RestClient, Session
from tests.story.streams import Observed, Onlooker

UNRELATED = (contracts.stream_of(LeaderboardUpdated),)
"""Streams that have a life of their own, with correlation ids of their own."""

COMMAND_SECONDS = 60.0

Disturbance = Callable[[Act], Coroutine[None, None, None]]
"""Runs while the trade of an act is on its way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """What one trade set off."""

    act: Act
    correlation_id: str
    user_id: str
    expected: Sequence[Expected]
    observed: Sequence[Observed]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A story that was played."""

    chains: Sequence[Chain]
    differences: Sequence[str] = field(default_factory=list)
    """What is not as the domain says; empty for a success."""

    @property
    def observed(self) -> list[Observed]:
        return [entry for chain in self.chains for entry in chain.observed]


class Stage:
    """A running mesh, its first admin signed in, an onlooker at its streams."""

    def __init__(self, running: LocalMesh, *, deadline_seconds: float = 30) -> None:
        self.running = running
        self.rest = RestClient(running.mesh, patience_seconds=deadline_seconds)
        self.onlooker = Onlooker(running.mesh)
        self.admin: Session
        self._deadline_seconds = deadline_seconds
        self._closing = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as entered:
            await entered.enter_async_context(self.rest)
            await entered.enter_async_context(self.onlooker)
            await make_admin(self.running, "first-admin")
            self.admin = await self.rest.login("first-admin")
            self._closing = entered.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._closing.aclose()

    async def play(self, story: str, acts: Sequence[Act], disturbance: Disturbance | None = None) -> Outcome:
        """Plays the acts one after another; each has a user and a correlation id of its own."""
        sessions = {act: await self._prepare(story, act) for act in acts}
        differences = await self._await_quiet(f"{story}: after the preparations")
        for act in acts:
            expected = expected_of_award(act)
            observed = self.onlooker.of(f"{story}.{act.player}.award")
            differences += chain_differences(f"award to {act.player}", expected, observed, sessions[act].user_id)
        for act in acts:
            differences += await self._perform(story, act, sessions[act], disturbance)
        differences += await self._await_quiet(f"{story}: after the trades")
        await self.onlooker.reread()
        chains = [
            Chain(
                act=act,
                correlation_id=f"{story}.{act.player}",
                user_id=sessions[act].user_id,
                expected=expected_of_trade(act),
                observed=self.onlooker.of(f"{story}.{act.player}"),
            )
            for act in acts
        ]
        for chain in chains:
            differences += chain_differences(chain.correlation_id, chain.expected, chain.observed, chain.user_id)
        differences += stream_differences(self.onlooker.seen)
        return Outcome(chains=chains, differences=differences)

    async def _prepare(self, story: str, act: Act) -> Session:
        """Registers the act's user and brings it to its XP and its funds."""
        username = f"{story}-{act.player}"
        await self.rest.register(username)
        session = await self.rest.login(username)
        if act.xp_before:
            correlation_id = f"{story}.{act.player}.award"
            await self.rest.award_xp(self.admin, session.user_id, act.xp_before, correlation_id=correlation_id)
            await self._await_arrival({correlation_id: len(expected_of_award(act))})
        await self.rest.fund(self.admin, session.user_id, FUNDS_USD)
        return session

    async def _perform(self, story: str, act: Act, session: Session, disturbance: Disturbance | None) -> list[str]:
        """Makes the act's trade; returns what is wrong with the answers."""
        correlation_id = f"{story}.{act.player}"
        async with asyncio.TaskGroup() as tasks:
            trading = tasks.create_task(
                self.rest.trade(session, act.symbol, act.amount_usd, correlation_id=correlation_id)
            )
            tasks.create_task(self._await_arrival({correlation_id: len(expected_of_trade(act))}))
            if disturbance is not None:
                tasks.create_task(disturbance(act))
        trade = trading.result()
        portfolio = await self.rest.get(f"/v1/users/{session.user_id}/portfolio", session=session)
        facts = {
            "state": (trade["state"], "TRADE_STATE_ACTIVE"),
            "amount": (trade["amount"]["amount"], f"{act.amount_usd:.2f}"),
            "fee": (trade["fee"]["amount"], f"{act.fee_usd:.2f}"),
            "balance after it": (portfolio["balance"]["amount"], f"{FUNDS_USD - act.amount_usd - act.fee_usd:.2f}"),
            "open positions": (len(portfolio["positions"]), 1),
        }
        return [
            f"{story}.{act.player}: {what} is {is_now!r}, not {should_be!r}"
            for what, (is_now, should_be) in facts.items()
            if is_now != should_be
        ]

    async def _await_arrival(self, counts: dict[str, int]) -> None:
        """Waits until each chain has as many events as it should; what is missing then is told by the comparison."""

        def arrived() -> bool:
            return all(len(self.onlooker.of(chain)) >= count for chain, count in counts.items())

        await self.onlooker.look_until(arrived, time.monotonic() + self._deadline_seconds)

    async def _await_quiet(self, when: str) -> list[str]:
        deadline = time.monotonic() + self._deadline_seconds
        if await self.onlooker.look_until_quiet(deadline, ignore=UNRELATED):
            return []
        left = [f"{group}: {what}" for group, what in (await self.onlooker.unfinished()).items()]
        return [f"{when} the streams are not quiet within {self._deadline_seconds:g} s {'; '.join(left)}"]


async def make_admin(running: LocalMesh, username: str) -> None:
    """Makes the first admin as an operator does: by the local command."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services", "make-admin", username),
        cwd=ROOT,
        env={**running.environment, "ASTRA_ADMIN_PASSWORD": PASSWORD, "PATH": os.environ.get("PATH", "")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), COMMAND_SECONDS)
    except TimeoutError:
        process.kill()
        raise
    if process.returncode != 0:
        raise RuntimeError(f"make-admin ended with {process.returncode}: {output.decode(errors='replace')}")
