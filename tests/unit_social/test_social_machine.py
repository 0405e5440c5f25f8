"""Random weeks of social life: whatever is done in whatever order, the rules of clans, battles and ratings hold."""

import asyncio
import tempfile
from collections import Counter, defaultdict
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import grpc
from astra.social.v1 import social_service_pb2 as pb
from astra.social.v1.battle_pb2 import Battle, BattleState
from astra.social.v1.events_pb2 import ClanBattleCompleted, SocialRatingChanged
from astra.social.v1.social_service_pb2_grpc import SocialServiceStub
from astra.trading.v1.events_pb2 import ClanBattleScoreUpdated
from google.protobuf.message import Message
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from services import social
from services.mesh import Mesh
from services.runtime.delivery import Delivery
from services.runtime.transaction import Tx
from services.social.model import HOUR_MS
from tests.reacting import START_MS, Streams, react, recorded
from tests.serving import as_user, serving

CREW = [f"u{n}" for n in range(20)]
USERS = st.sampled_from(CREW)
SCORES = st.decimals(0, 500, places=2)
CHOICE = st.randoms(use_true_random=False)
REFUSALS = {
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.INVALID_ARGUMENT,
}
OPEN = (BattleState.BATTLE_STATE_PENDING, BattleState.BATTLE_STATE_ACTIVE)
T = TypeVar("T")


class Social(RuleBasedStateMachine):
    """A domain, its users and the scores that trading tells, which come late, in any order, and again."""

    @initialize()
    def open(self) -> None:
        self.loop, self.closing = asyncio.new_event_loop(), AsyncExitStack()
        self.now, self.streams = START_MS, Streams()
        self.clans: list[str] = []
        self.battles: dict[str, Battle] = {}
        self.waiting: list[Delivery] = []
        self.kept: dict[tuple[str, str], tuple[int, str]] = {}
        self.rated = set[str]()
        self.made = defaultdict[str, list[int]](list)

        async def start() -> None:
            folder = self.closing.enter_context(tempfile.TemporaryDirectory())
            self.domain = social.build(Mesh.at(Path(folder)), clock=lambda: self.now)
            self.stub = SocialServiceStub(await self.closing.enter_async_context(serving(self.domain)))

        self.run(start())
        # Two clans that may fight; what else there is comes at random.
        for side in range(2):
            first, *others = CREW[side * 8 : side * 8 + 8]
            self.create_clan(first)
            for user in others:
                self.join(user, side)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def call(self, rpc: Any, request: Message, user: str) -> Any:
        """Calls as a user. Returns None for a refusal; only the kinds that rules give are let through."""

        async def send() -> Any:
            return await rpc(request, metadata=as_user(user))

        try:
            return self.run(send())
        except grpc.aio.AioRpcError as error:
            if error.code() not in REFUSALS:
                raise
            return None

    def chosen(self, options: list[str], at: int) -> str:
        return options[at % len(options)] if options else "none"

    @rule(user=USERS)
    def create_clan(self, user: str) -> None:
        if created := self.call(self.stub.CreateClan, pb.CreateClanRequest(name=f"Clan {len(self.clans)}"), user):
            self.clans.append(created.clan.clan_id)

    @rule(user=USERS, at=st.integers(0, 3))
    def join(self, user: str, at: int) -> None:
        self.call(self.stub.JoinClan, pb.JoinClanRequest(clan_id=self.chosen(self.clans, at)), user)

    @rule(user=USERS)
    def leave(self, user: str) -> None:
        self.call(self.stub.LeaveClan, pb.LeaveClanRequest(clan_id=self.clan_of(user)), user)

    @rule(user=USERS, other=USERS, role=st.integers(1, 4), remove=st.booleans())
    def rule_over(self, user: str, other: str, role: int, remove: bool) -> None:
        fields: dict[str, Any] = {"clan_id": self.clan_of(user), "member_user_id": other}
        if remove:
            self.call(self.stub.RemoveClanMember, pb.RemoveClanMemberRequest(**fields), user)
        else:
            fields["role"] = role
            self.call(self.stub.SetClanRole, pb.SetClanRoleRequest(**fields), user)

    @rule(by=st.integers(0, 3), at=st.integers(0, 3), kind=st.integers(1, 3), hours=st.sampled_from([1, 24, 168]))
    def challenge(self, by: int, at: int, kind: int, hours: int) -> None:
        request = pb.ChallengeClanRequest(defender_clan_id=self.chosen(self.clans, at), type=kind)  # type: ignore[arg-type]
        request.duration.FromSeconds(hours * 3600)
        if made := self.call(self.stub.ChallengeClan, request, self.owner_of(self.chosen(self.clans, by))):
            self.battles[made.battle.battle_id] = made.battle

    @rule(
        scores=st.lists(st.tuples(st.sampled_from([0, 1, 8]), SCORES), min_size=2, max_size=6),
        kind=st.integers(1, 3),
        choice=CHOICE,
        to_the_end=st.booleans(),
    )
    def fight(self, scores: list[tuple[int, Decimal]], kind: int, choice: Any, to_the_end: bool) -> None:
        """Has the first two clans fight, if they can, and tells some members' scores, shuffled."""
        self.challenge(0, 1, kind, 24)
        self.answer(0, 1)
        for member, score in scores:
            self.score(CREW[member], 0, score)
        self.deliver(choice)
        if to_the_end:
            self.wait(25 * HOUR_MS)

    @rule(at=st.integers(0, 7), accept=st.integers(0, 3))
    def answer(self, at: int, accept: int) -> None:
        """Accepts a challenge, most of the time; else declines it."""
        battle_id = self.chosen(list(self.battles), -1 - at)
        if battle_id not in self.battles:
            return
        user = self.owner_of(self.battles[battle_id].defender_clan_id)
        if accept:
            self.call(self.stub.AcceptBattle, pb.AcceptBattleRequest(battle_id=battle_id), user)
        else:
            self.call(self.stub.DeclineBattle, pb.DeclineBattleRequest(battle_id=battle_id), user)

    @rule(user=USERS, at=st.integers(0, 3), score=SCORES)
    def score(self, user: str, at: int, score: Decimal) -> None:
        battle_id = self.chosen(list(self.battles), -1 - at)
        event = ClanBattleScoreUpdated(battle_id=battle_id, user_id=user, trade_id="t", score=str(score))
        self.waiting.append(self.streams.add(event, ms=self.now))

    @rule(choice=CHOICE)
    def deliver(self, choice: Any) -> None:
        choice.shuffle(self.waiting)
        taken, self.waiting = self.waiting[:6], self.waiting[6:]
        for delivery in taken + taken[:2]:
            event = delivery.event
            assert isinstance(event, ClanBattleScoreUpdated)
            before = self.battle(event.battle_id)
            self.run(react(self.domain, "clan_battle_processors", delivery))
            if before is None or before.state != BattleState.BATTLE_STATE_ACTIVE:
                continue
            fights = event.user_id in {fighter.user_id for fighter in before.fighters}
            if fights and before.start_time.ToMilliseconds() <= delivery.ms < before.end_time.ToMilliseconds():
                key = (event.battle_id, event.user_id)
                self.kept[key] = max(self.kept.get(key, (0, "")), (delivery.ordinal, event.score))

    @rule(ms=st.sampled_from([1, HOUR_MS, 25 * HOUR_MS, 170 * HOUR_MS]))
    def wait(self, ms: int) -> None:
        self.now += ms
        due = "SELECT kind, key FROM due WHERE at_ms <= ? ORDER BY at_ms"
        for kind, key in self.run(self.domain.store.read(lambda db: db.all(due, self.now))):

            def fire(tx: Tx, kind: str = kind, key: str = key) -> None:
                tx.execute("DELETE FROM due WHERE kind = ? AND key = ?", kind, key)
                self.domain.timers[kind](tx, key)

            self.run(self.domain.store.write(fire))

    @rule(user=USERS, other=USERS, kind=st.sampled_from([1, 4, 6, 6, 7, 7]))
    def interact(self, user: str, other: str, kind: int) -> None:
        request = pb.InteractRequest(target_user_id=other, kind=kind)  # type: ignore[arg-type]
        made = self.call(self.stub.Interact, request, user)
        recent = [at_ms for at_ms in self.made[user] if at_ms > self.now - HOUR_MS]
        assert (made is not None) == (user != other and len(recent) < 10)
        if made:
            self.rated.add(other)
            self.made[user].append(self.now)

    @rule(whom=st.sampled_from(CREW[:2]), kind=st.sampled_from([6, 6, 7]))
    def acclaim(self, whom: str, kind: int) -> None:
        """Has a crowd endorse one user, or speak against it."""
        for user in CREW[2:16]:
            self.interact(user, whom, kind)

    def battle(self, battle_id: str) -> Battle | None:
        response = self.call(self.stub.GetBattle, pb.GetBattleRequest(battle_id=battle_id), "reader")
        return response.battle if response else None

    def clan_of(self, user: str) -> str:
        profile = self.call(self.stub.GetSocialProfile, pb.GetSocialProfileRequest(user_id=user), "reader")
        return profile.social_profile.clan_id or "none"

    def owner_of(self, clan_id: str) -> str:
        clan = self.call(self.stub.GetClan, pb.GetClanRequest(clan_id=clan_id), "reader")
        return clan.clan.members[0].user_id if clan else "nobody"

    @invariant()
    def every_clan_has_one_owner_and_its_rating_follows_from_its_battles(self) -> None:
        clans = [self.call(self.stub.GetClan, pb.GetClanRequest(clan_id=each), "reader") for each in self.clans]
        members = Counter[str]()
        for clan in (response.clan for response in clans if response):
            assert [member.role for member in clan.members].count(1) == 1
            assert len(clan.members) == clan.member_count > 0
            assert clan.rating == 1000 + 20 * clan.wins - 10 * clan.losses
            members.update(member.user_id for member in clan.members)
        assert all(count == 1 for count in members.values())

    @invariant()
    def two_clans_have_one_open_battle_and_scores_are_the_last_told(self) -> None:
        found = [battle for battle_id in self.battles if (battle := self.battle(battle_id))]
        assert len(found) == len(self.battles)
        pairs = [frozenset((each.challenger_clan_id, each.defender_clan_id)) for each in found if each.state in OPEN]
        assert len(pairs) == len(set(pairs))
        scale = {1: Decimal(1), 2: Decimal("0.8"), 3: Decimal("1.2")}
        for battle in found:
            for fighter in battle.fighters:
                _, told = self.kept.get((battle.battle_id, fighter.user_id), (0, "0"))
                assert abs(Decimal(fighter.score) - Decimal(told) * scale[battle.type]) <= Decimal("0.005")
            total = sum((Decimal(fighter.score) for fighter in battle.fighters), Decimal(0))
            assert Decimal(battle.challenger_score) + Decimal(battle.defender_score) == total

    @invariant()
    def every_pot_is_shared_out_whole_and_once(self) -> None:
        told = Counter[str]()
        for envelope in self.run(recorded(self.domain)):
            if envelope.type != ClanBattleCompleted.DESCRIPTOR.full_name:
                continue
            event = ClanBattleCompleted.FromString(envelope.data)
            told[event.battle_id] += 1
            battle = self.battle(event.battle_id)
            assert battle is not None
            shares = {share.user_id: share.amount.amount for share in event.shares}
            assert shares == {each.user_id: each.reward.amount for each in battle.fighters if each.reward.amount != "0"}
            assert sum(map(int, shares.values())) == int(battle.pot.amount) == 20 * len(battle.fighters)
            winning = (Decimal(battle.challenger_score), Decimal(battle.defender_score))
            winner = battle.challenger_clan_id if winning[0] > winning[1] else battle.defender_clan_id
            assert event.winner_clan_id == battle.winner_clan_id == ("" if winning[0] == winning[1] else winner)
        over = [each for each in self.battles if self.is_over(each)]
        assert told == Counter(over)

    def is_over(self, battle_id: str) -> bool:
        battle = self.battle(battle_id)
        return battle is not None and battle.state == BattleState.BATTLE_STATE_COMPLETED

    @invariant()
    def ratings_stay_within_0_and_100_and_near_what_was_told(self) -> None:
        told = dict.fromkeys(CREW, Decimal(50))
        for envelope in self.run(recorded(self.domain)):
            if envelope.type == SocialRatingChanged.DESCRIPTOR.full_name:
                event = SocialRatingChanged.FromString(envelope.data)
                assert Decimal(event.old_rating) == told[event.user_id]
                told[event.user_id] = Decimal(event.new_rating)
        for user in self.rated:
            request = pb.GetSocialProfileRequest(user_id=user)
            rating = Decimal(self.call(self.stub.GetSocialProfile, request, "reader").social_profile.rating)
            assert 0 <= rating <= 100
            assert abs(rating - told[user]) < 1

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            self.run(self.closing.aclose())
            self.loop.close()


TestSocial = Social.TestCase
TestSocial.settings = settings(
    max_examples=8, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
