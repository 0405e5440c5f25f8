"""Social on a database of its own, with a clock to move."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from astra.social.v1 import social_service_pb2 as pb
from astra.social.v1.battle_pb2 import Battle
from astra.social.v1.clan_pb2 import Clan
from astra.social.v1.social_profile_pb2 import SocialProfile
from astra.social.v1.social_service_pb2_grpc import SocialServiceStub

from services import social
from services.domain import Domain
from services.mesh import Mesh
from services.runtime.transaction import Tx
from tests.serving import as_user, serving

START_MS = 1_800_000_000_000


@dataclass
class Circle:
    """The domain, a channel to it, and the time it reads."""

    domain: Domain
    channel: grpc.aio.Channel
    now: list[int] = field(default_factory=list)

    @property
    def stub(self) -> SocialServiceStub:
        return SocialServiceStub(self.channel)

    async def profile(self, user_id: str) -> SocialProfile:
        request = pb.GetSocialProfileRequest(user_id=user_id)
        response = await self.stub.GetSocialProfile(request, metadata=as_user("reader"))
        assert isinstance(response.social_profile, SocialProfile)
        return response.social_profile

    async def fire_due(self) -> int:
        """Fires the timers that are due, as `run_timers` does. Returns how many."""
        rows = await self.domain.store.read(
            lambda db: db.all("SELECT kind, key FROM due WHERE at_ms <= ? ORDER BY at_ms", self.now[0])
        )
        for kind, key in rows:

            def fire(tx: Tx, kind: str = kind, key: str = key) -> None:
                tx.execute("DELETE FROM due WHERE kind = ? AND key = ?", kind, key)
                self.domain.timers[kind](tx, key)

            await self.domain.store.write(fire)
        return len(rows)

    async def clan(self, name: str, size: int = 5) -> str:
        """Creates a clan of `<name>0`, its owner, and further members `<name>1`, …; returns its id."""
        request = pb.CreateClanRequest(name=f"Clan {name}")
        clan_id: str = (await self.stub.CreateClan(request, metadata=as_user(f"{name}0"))).clan.clan_id
        for n in range(1, size):
            await self.stub.JoinClan(pb.JoinClanRequest(clan_id=clan_id), metadata=as_user(f"{name}{n}"))
        return clan_id

    async def battle(self, kind: int = 1) -> Battle:
        """Has two clans of five, a and d, fight a battle of 24 h that begins now."""
        await self.clan("a")
        request = pb.ChallengeClanRequest(defender_clan_id=await self.clan("d"), type=kind)  # type: ignore[arg-type]
        challenge = (await self.stub.ChallengeClan(request, metadata=as_user("a0"))).battle
        accept = pb.AcceptBattleRequest(battle_id=challenge.battle_id)
        battle = (await self.stub.AcceptBattle(accept, metadata=as_user("d0"))).battle
        assert isinstance(battle, Battle)
        return battle

    async def get_battle(self, battle_id: str) -> Battle:
        request = pb.GetBattleRequest(battle_id=battle_id)
        battle = (await self.stub.GetBattle(request, metadata=as_user("reader"))).battle
        assert isinstance(battle, Battle)
        return battle

    async def get_clan(self, clan_id: str) -> Clan:
        request = pb.GetClanRequest(clan_id=clan_id)
        clan = (await self.stub.GetClan(request, metadata=as_user("reader"))).clan
        assert isinstance(clan, Clan)
        return clan


@pytest.fixture
async def circle(tmp_path: Path) -> AsyncIterator[Circle]:
    now = [START_MS]
    domain = social.build(Mesh.at(tmp_path), clock=lambda: now[0])
    async with serving(domain) as channel:
        yield Circle(domain, channel, now)
