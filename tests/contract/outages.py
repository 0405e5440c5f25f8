"""Each container of compose.yaml is stopped under calls: errors are honest, and in the end nothing is lost or doubled.

`make contract` runs it, after the other contracts. It stops containers, so only a mesh that was made for it will do.
"""

import asyncio
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import grpc
import pytest
import yaml
from google.protobuf.json_format import MessageToDict

from services.mesh import ROOT
from tests.containers.project import Project
from tests.contract.conftest import Report
from tests.contract.deployment import Deployment
from tests.contract.watching import Bus
from tests.flows.test_grpcurl import registered
from tests.story.rest import Session

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(240)]

PACE_SECONDS = 0.1
CALLS_BEFORE, CALLS_DURING = 3, 8
PATIENCE_SECONDS = 60.0
XP_OF_A_TRADE = 10
HONEST = {429, 502, 503, 504}
"""Statuses that tell a caller to come again."""
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
STAY = sorted(name for name, entry in COMPOSE.items() if name != "setup" and "profiles" not in entry)


@dataclass
class Caller:
    """One user who trades on and on, whatever is away, and keeps what was answered."""

    http: aiohttp.ClientSession
    session: Session
    began: float = field(default_factory=time.time)
    request_ids: list[str] = field(default_factory=list)
    trade_ids: dict[str, str] = field(default_factory=dict)
    """The trade by the request that was answered with it."""
    dishonest: list[str] = field(default_factory=list)

    async def trade(self, request_id: str, *, door_is_away: bool = False) -> None:
        """Sends one trade, or sends it again."""
        body = {
            "requestId": request_id,
            "symbol": "BTC",
            "direction": "DIRECTION_LONG",
            "amount": {"currencyCode": "USD", "amount": "10"},
        }
        headers = {"authorization": f"Bearer {self.session.token}"}
        try:
            async with self.http.post(f"/v1/users/{self.session.user_id}/trades", json=body, headers=headers) as answer:
                said = await answer.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError) as error:
            if not door_is_away:
                self.dishonest.append(repr(error))
            return
        if answer.status == 200:
            first = self.trade_ids.setdefault(request_id, said["tradeId"])
            if first != said["tradeId"]:
                self.dishonest.append(f"{request_id} is trade {first} and {said['tradeId']}")
        elif answer.status not in HONEST:
            self.dishonest.append(f"{answer.status} {said}")

    async def trade_on(self, count: int, *, door_is_away: bool = False) -> None:
        """Makes so many new trades, one after the other."""
        for _ in range(count):
            self.request_ids.append(uuid.uuid4().hex)
            await self.trade(self.request_ids[-1], door_is_away=door_is_away)
            await asyncio.sleep(PACE_SECONDS)

    async def make_up(self) -> None:
        """Repeats what was not answered well until it is."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while left := [each for each in self.request_ids if each not in self.trade_ids]:
                for request_id in left:
                    await self.trade(request_id, door_is_away=True)
                await asyncio.sleep(PACE_SECONDS)


@pytest.mark.parametrize("service", STAY)
async def test_a_container_may_stop_at_any_time(service: str, deployment: Deployment, bus: Bus, report: Report) -> None:
    project = Project.of_environment()
    await deployment.sign_in()
    session = await deployment.rest.login(await registered(deployment))
    url = f"http://{deployment.mesh.addresses['gateway']}"
    async with aiohttp.ClientSession(url, timeout=aiohttp.ClientTimeout(total=10)) as http:
        caller = Caller(http, session)
        await caller.trade_on(CALLS_BEFORE)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(asyncio.to_thread(project.stop, service))
            tasks.create_task(caller.trade_on(CALLS_DURING, door_is_away=service == "gateway"))
        await caller.trade_on(CALLS_DURING, door_is_away=service == "gateway")
        await asyncio.to_thread(project.start, service)
        await caller.make_up()
        assert caller.dishonest == []
        assert await settled(deployment, bus, caller) == []
        assert await bus.settle(seconds=PATIENCE_SECONDS) == {}
    report.outages.append(service)


async def settled(deployment: Deployment, bus: Bus, caller: Caller) -> list[str]:
    """Waits until nothing is missing any more; returns what still is, or is there twice, when the time is over."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = await differences(deployment, bus, caller)
        if not found or time.monotonic() > deadline:
            return found
        await asyncio.sleep(0.2)


async def differences(deployment: Deployment, bus: Bus, caller: Caller) -> list[str]:
    """Compares what the caller was told with the trades, the events and what they came to."""
    user_id, made = caller.session.user_id, sorted(caller.trade_ids.values())
    path = f"/v1/users/{user_id}"
    listed = (await deployment.rest.get(f"{path}/trades?pageSize=1000", session=deployment.admin))["trades"]
    progression = await deployment.rest.get(f"{path}/progression", session=deployment.admin)
    try:
        events = [each for each in await bus.events_since(caller.began) if each.user_id == user_id]
    except grpc.aio.AioRpcError as error:
        return [f"the events cannot be seen: {error.code().name} {error.details()}"]
    executed = [each.subject for each in events if each.stream == "astra.trading.trade_executed.v1"]
    gained = [MessageToDict(each.data) for each in events if each.stream == "astra.gamification.xp_gained.v1"]
    of_trades = [int(each["xp"]) for each in gained if each["source"] == "XP_SOURCE_TRADE"]
    count = len(caller.request_ids)
    compared = {
        "trades answered": (len(set(made)), count),
        "trades listed": (sorted(trade["tradeId"] for trade in listed), made),
        "trades published": (sorted(executed), made),
        "XP of trades": (of_trades, [XP_OF_A_TRADE] * count),
        "XP in all": (sum(int(each["xp"]) for each in gained), int(progression["totalXp"])),
    }
    return [
        f"{what}: {is_now}, not {should_be}" for what, (is_now, should_be) in compared.items() if is_now != should_be
    ]


async def test_in_the_end_every_container_is_healthy() -> None:
    project = Project.of_environment()
    for service in STAY:
        await asyncio.to_thread(project.wait_healthy, service)


async def test_every_container_was_stopped(report: Report) -> None:
    assert sorted(set(report.outages)) == STAY
