"""Gamification on a database of its own, with a clock to move."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from astra.gamification.v1.gamification_service_pb2_grpc import GamificationServiceStub

from services import gamification
from services.domain import Domain
from services.mesh import Mesh
from services.runtime.context import Context
from services.runtime.transaction import Tx
from tests.serving import serving

FRIDAY_NOON_MS = 1_800_014_400_000
"""2027-01-15 12:00 UTC."""


@dataclass
class Game:
    """The domain, a channel to it, and the time it reads."""

    domain: Domain
    channel: grpc.aio.Channel
    now: list[int] = field(default_factory=list)

    @property
    def stub(self) -> GamificationServiceStub:
        return GamificationServiceStub(self.channel)

    async def fire_due(self) -> int:
        """Fires the timers that are due, as `run_timers` does. Returns how many."""
        rows = await self.domain.store.read(
            lambda db: db.all("SELECT kind, key FROM due WHERE at_ms <= ? ORDER BY at_ms", self.now[0])
        )
        for kind, key in rows:

            def fire(tx: Tx, kind: str = kind, key: str = key) -> None:
                tx.execute("DELETE FROM due WHERE kind = ? AND key = ?", kind, key)
                self.domain.timers[kind](tx, key)

            # A chain that is on its way when the timer fires: what it publishes must not join it.
            passing = Context(correlation_id="passing", causation_id="passing-event")
            await self.domain.store.write(fire, context=passing)
        return len(rows)


@pytest.fixture
async def game(tmp_path: Path) -> AsyncIterator[Game]:
    now = [FRIDAY_NOON_MS]
    domain = gamification.build(Mesh.at(tmp_path), clock=lambda: now[0])
    async with serving(domain) as channel:
        yield Game(domain, channel, now)
