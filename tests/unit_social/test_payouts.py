"""Rewards of battles reach the accounts: each once, whatever is lost on the way."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from astra.gamification.v1 import gamification_service_pb2 as game_pb
from astra.gamification.v1.gamification_service_pb2_grpc import GamificationServiceStub
from google.protobuf.message import Message

from services import gamification
from services.mesh import Mesh
from services.runtime.credentials import make_credentials
from services.runtime.errors import Unavailable
from services.runtime.peers import PeerError
from services.social.battles import SETTLE_AFTER_MS
from services.social.model import HOUR_MS
from services.social.payouts import CREDIT, pay_out, request_id_of, run_payouts
from tests.serving import as_service, serving
from tests.unit_social.conftest import Circle

Reply = TypeVar("Reply", bound=Message)


class Ledger:
    """Credits by request id, as gamification does; fails as it is told to."""

    def __init__(self, failures: Sequence[Exception | str | None]) -> None:
        self.failures = list(failures)
        self.credited: dict[str, tuple[str, int]] = {}

    async def call(self, path: str, request: Message, reply: type[Reply]) -> Reply:
        assert path == CREDIT
        assert isinstance(request, game_pb.CreditShardsRequest)
        failure = self.failures.pop(0) if self.failures else None
        if failure is None or failure == "reply lost":
            self.credited.setdefault(request.request_id, (request.user_id, int(request.amount.amount)))
        if failure == "reply lost":
            raise Unavailable("the reply was lost", reason="PEER_UNAVAILABLE")
        if isinstance(failure, Exception):
            raise failure
        return reply()

    @property
    def balances(self) -> Counter[str]:
        balances = Counter[str]()
        for user_id, amount in self.credited.values():
            balances[user_id] += amount
        return balances


EVERYONE = {f"{clan}{n}": 20 for clan in "ad" for n in range(5)}
"""What a battle in which nobody scored brings: a pot of 200, halved, evenly."""


async def settled(circle: Circle) -> str:
    battle = await circle.battle()
    circle.now[0] += 24 * HOUR_MS + SETTLE_AFTER_MS
    await circle.fire_due()
    return battle.battle_id


async def test_every_reward_is_paid_once_through_outages_and_lost_replies(circle: Circle) -> None:
    await settled(circle)
    away = Unavailable("away", reason="PEER_UNAVAILABLE")
    ledger = Ledger([away, None, "reply lost", None, None, "reply lost", away])
    waits = 0
    while await pay_out(circle.domain.store, ledger):
        waits += 1
    assert waits == 4
    assert ledger.balances == EVERYONE
    assert not await pay_out(circle.domain.store, ledger)
    assert len(ledger.credited) == 10


async def test_a_refused_reward_holds_up_no_other(circle: Circle) -> None:
    battle_id = await settled(circle)
    ledger = Ledger([PeerError("INVALID_ARGUMENT", "no", reason="INVALID_FIELD")])
    assert await pay_out(circle.domain.store, ledger)
    assert set(EVERYONE) - set(ledger.balances) == {"a0"}
    assert not await pay_out(circle.domain.store, ledger)
    assert ledger.balances == EVERYONE
    assert request_id_of(battle_id, "a0") in ledger.credited


async def test_two_processes_at_once_pay_once(circle: Circle) -> None:
    await settled(circle)
    ledger = Ledger([])
    await asyncio.gather(*(pay_out(circle.domain.store, ledger) for _ in range(3)))
    assert ledger.balances == EVERYONE


async def test_the_real_ledger_takes_the_credits(circle: Circle, tmp_path: Path) -> None:
    mesh = Mesh.at(tmp_path / "game", free_ports=True)
    make_credentials(mesh)
    async with serving(gamification.build(mesh)) as channel:
        stub = GamificationServiceStub(channel)
        ledger = Through(stub)
        await settled(circle)
        assert not await pay_out(circle.domain.store, ledger)
        for user_id in EVERYONE:
            request = game_pb.GetShardsRequest(user_id=user_id)
            response = await stub.GetShards(request, metadata=as_service("social"))
            assert response.shard_account.balance.amount == "20"


class Through:
    """Calls a service that is served in process, with the header that Envoy makes of the worker's token."""

    def __init__(self, stub: GamificationServiceStub) -> None:
        self._stub = stub

    async def call(self, path: str, request: Message, reply: type[Reply]) -> Reply:
        response = await self._stub.CreditShards(request, metadata=as_service("social"))
        assert isinstance(response, reply)
        return response


async def test_the_worker_stops_at_once_while_it_waits(circle: Circle, tmp_path: Path) -> None:
    mesh = Mesh.at(tmp_path / "keys", free_ports=True)
    make_credentials(mesh)
    stop = asyncio.Event()
    worker = asyncio.create_task(run_payouts(circle.domain.store, mesh, stop))
    await settled(circle)  # nobody is there to credit it: the worker waits for a retry
    await asyncio.sleep(0)
    stop.set()
    await asyncio.wait_for(worker, 10)
