"""Random days of gamification: whatever is done in whatever order, it adds up."""

import asyncio
import tempfile
from collections import Counter
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

import grpc
from astra.event.v1.envelope_pb2 import Envelope
from astra.gamification.v1 import gamification_service_pb2 as pb
from astra.gamification.v1.events_pb2 import AchievementUnlocked, LevelUp, XpGained
from astra.gamification.v1.gamification_service_pb2_grpc import GamificationServiceStub
from astra.gamification.v1.leaderboard_pb2 import Board
from astra.social.v1.events_pb2 import SocialInteraction
from astra.trading.v1.events_pb2 import PositionClosed, TradeExecuted
from astra.type.v1.money_pb2 import Money
from google.protobuf.message import Message
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from services import contracts, gamification
from services.gamification.boards import DAY_MS, period_start_ms
from services.gamification.boards import Board as BoardRule
from services.mesh import Mesh
from services.runtime.delivery import Delivery
from tests.reacting import START_MS, Streams, react, recorded
from tests.serving import as_service, as_user, serving

USERS = st.sampled_from(["ann", "ben", "cat"])
READS = {
    "gamification_xp_processors": {"TradeExecuted", "SocialInteraction"},
    "achievement_processors": {"TradeExecuted", "SocialInteraction", "PositionClosed"},
}
T = TypeVar("T")


class Gamification(RuleBasedStateMachine):
    """A domain, its callers and its consumers. Events come late, in any order, and again."""

    @initialize()
    def open(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.closing = AsyncExitStack()
        self.now, self.streams, self.requests = START_MS, Streams(), 0
        self.waiting: list[tuple[str, Delivery]] = []
        self.done: list[tuple[str, Delivery]] = []
        self.told = Counter[str]()
        self.credited, self.debited = Counter[str](), Counter[str]()

        async def start() -> None:
            folder = self.closing.enter_context(tempfile.TemporaryDirectory())
            self.domain = gamification.build(Mesh.at(Path(folder)), clock=lambda: self.now)
            self.stub = GamificationServiceStub(await self.closing.enter_async_context(serving(self.domain)))

        self.run(start())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def call(self, rpc: Any, request: Message, metadata: Any) -> Any:
        async def send() -> Any:
            return await rpc(request, metadata=metadata)

        return self.run(send())

    @rule(user=USERS, xp=st.integers(1, 3000))
    def award(self, user: str, xp: int) -> None:
        self.call(self.stub.AwardXp, pb.AwardXpRequest(user_id=user, xp=xp), as_service("nft"))

    @rule(user=USERS)
    def check_in(self, user: str) -> None:
        self.call(self.stub.CheckIn, pb.CheckInRequest(user_id=user), as_user(user))

    @rule(ms=st.sampled_from([1, 3_600_000, DAY_MS, 2 * DAY_MS]))
    def wait(self, ms: int) -> None:
        self.now += ms

    @rule(user=USERS, amount=st.sampled_from(["1.00", "5000.00", "5000.01"]), count=st.integers(1, 6))
    def trade(self, user: str, amount: str, count: int) -> None:
        for _ in range(count):
            self.publish(TradeExecuted(user_id=user, amount=Money(currency_code="USD", amount=amount)))

    @rule(user=USERS, pnl=st.sampled_from(["-5.00", "5.00", "500.01"]))
    def close(self, user: str, pnl: str) -> None:
        self.publish(PositionClosed(user_id=user, pnl=Money(currency_code="USD", amount=pnl)))

    @rule(user=USERS, other=USERS, kind=st.integers(1, 7))
    def interact(self, user: str, other: str, kind: int) -> None:
        self.publish(SocialInteraction(user_id=user, target_user_id=other, kind=kind))  # type: ignore[arg-type]

    @rule(user=USERS, amount=st.integers(1, 400), debit=st.booleans(), repeat=st.booleans())
    def move_shards(self, user: str, amount: int, debit: bool, repeat: bool) -> None:
        self.requests += 1
        money = Money(currency_code="SHARDS", amount=str(amount))
        fields: dict[str, Any] = {"user_id": user, "request_id": f"r{self.requests}", "amount": money}
        for _ in range(1 + repeat):
            try:
                if debit:
                    self.call(self.stub.DebitShards, pb.DebitShardsRequest(**fields), as_service("nft"))
                else:
                    self.call(self.stub.CreditShards, pb.CreditShardsRequest(**fields), as_service("nft"))
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
                    raise
                return
        (self.debited if debit else self.credited)[user] += amount

    @rule(choice=st.randoms(use_true_random=False), again=st.booleans())
    def deliver(self, choice: Any, again: bool) -> None:
        """Hands some of what waits to its groups, shuffled; some of it not for the first time."""
        choice.shuffle(self.waiting)
        taken, self.waiting = self.waiting[:12], self.waiting[12:]
        repeated = choice.sample(self.done, min(3, len(self.done))) if again else []
        for group, delivery in taken + repeated:
            self.run(react(self.domain, group, delivery))
        self.done += taken
        self.forward_own_events()

    def publish(self, event: Message) -> None:
        delivery = self.streams.add(event, ms=self.now)
        self.waiting += [(group, delivery) for group, names in READS.items() if event.DESCRIPTOR.name in names]

    def forward_own_events(self) -> None:
        """Does what the bridge does: what the domain recorded comes back to its leaderboards."""
        rows = self.run(self.domain.store.read(lambda db: db.all("SELECT * FROM outbox ORDER BY stream, ordinal")))
        for row in rows:
            if row["ordinal"] <= self.told[row["stream"]] or row["stream"] not in contracts.events():
                continue
            self.told[row["stream"]] = row["ordinal"]
            kind = contracts.events()[row["stream"]]
            if kind.message in (XpGained, LevelUp):
                envelope = Envelope.FromString(row["envelope"])
                event = kind.message.FromString(envelope.data)
                delivery = Delivery(row["stream"], row["ms"], row["ordinal"], envelope, event)
                self.waiting.append(("leaderboard_updaters", delivery))

    @invariant()
    def everything_adds_up(self) -> None:
        gained, unlocked = Counter[str](), Counter[str]()
        for envelope in self.run(recorded(self.domain)):
            if envelope.type == XpGained.DESCRIPTOR.full_name:
                gained[envelope.user_id] += XpGained.FromString(envelope.data).xp
            elif envelope.type == AchievementUnlocked.DESCRIPTOR.full_name:
                unlocked[envelope.user_id] += AchievementUnlocked.FromString(envelope.data).shards
        for user in ("ann", "ben", "cat"):
            shown = self.call(
                self.stub.GetProgression, pb.GetProgressionRequest(user_id=user), as_user("reader")
            ).progression
            assert (shown.total_xp, shown.level) == (gained[user], gained[user] // 1000 + 1)
            account = self.call(self.stub.GetShards, pb.GetShardsRequest(), as_user(user)).shard_account
            assert int(account.balance.amount) == unlocked[user] + self.credited[user] - self.debited[user] >= 0
        total = "SELECT coalesce(sum(balance), 0) FROM shard_account"
        assert self.run(self.domain.store.read(lambda db: db.value(total))) == 0

    @invariant()
    def ranks_are_in_the_order_of_scores(self) -> None:
        scored: dict[BoardRule, Counter[str]] = {board: Counter() for board in BoardRule}
        for group, delivery in self.done:
            if group == "leaderboard_updaters" and isinstance(delivery.event, XpGained):
                for board in BoardRule:
                    if period_start_ms(board, delivery.ms) == period_start_ms(board, self.now):
                        scored[board][delivery.event.user_id] += delivery.event.xp
        for board in BoardRule:
            request = pb.GetLeaderboardRequest(board=Board.Name(board))
            ranks = self.call(self.stub.GetLeaderboard, request, as_user("reader")).ranks
            assert {rank.user_id: rank.xp for rank in ranks} == scored[board]
            for rank in ranks:
                assert rank.rank == 1 + sum(xp > rank.xp for xp in scored[board].values())

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            self.run(self.closing.aclose())
            self.loop.close()


TestGamification = Gamification.TestCase
TestGamification.settings = settings(
    max_examples=12, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
