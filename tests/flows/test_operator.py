"""The operator's commands on a real mesh: a poisonous event from its dead letter to its end, and replays."""

import asyncio
import json
import os
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from astra.bridge.v1 import bus_service_pb2 as pb
from astra.event.v1 import group_service_pb2 as group_pb

from bridge.commands.dead_letters import Name
from services.local import LocalMesh
from services.mesh import ROOT, Mesh
from services.runtime.credentials import ServiceToken
from services.runtime.redis_client import connect
from tests.flows.operating import DEADLINE_SECONDS, TRADED, eventually, poisoned, trade, trader
from tests.story.play import Stage
from tests.story.rest import PASSWORD, Session

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600), pytest.mark.long]

COMMAND_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[Any]:
        """What it printed with --json."""
        return [json.loads(line) for line in self.out.splitlines()]


class Operator:
    """Types `python -m bridge …`, as the admin of the stage unless told otherwise."""

    def __init__(self, running: LocalMesh) -> None:
        self._environment = {
            **running.environment,
            "PATH": os.environ.get("PATH", ""),
            "ASTRA_ADMIN_USERNAME": "first-admin",
            "ASTRA_ADMIN_PASSWORD": PASSWORD,
            "COLUMNS": "300",
        }

    async def begin(self, *arguments: str, **environment: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bridge", *arguments),
            cwd=ROOT,
            env={**self._environment, **environment},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def end(self, process: asyncio.subprocess.Process) -> Ended:
        out, err = await asyncio.wait_for(process.communicate(), COMMAND_SECONDS)
        assert process.returncode is not None
        assert "Traceback" not in err.decode()
        return Ended(process.returncode, out.decode(), err.decode())

    async def __call__(self, *arguments: str, **environment: str) -> Ended:
        return await self.end(await self.begin(*arguments, **environment))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalMesh]:
    """A mesh of this file's own: it is poisoned, and its streams get what no story knows."""
    with LocalMesh(Mesh.at(tmp_path_factory.mktemp("operated"), free_ports=True)) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(running: LocalMesh) -> AsyncIterator[Stage]:
    async with Stage(running) as stage:
        yield stage


@pytest.fixture(scope="module")
def operator(running: LocalMesh) -> Operator:
    return Operator(running)


async def feed_of(stage: Stage, user: Session) -> int:
    """Returns how many lines the feed has of a user: one a trade, made by `social_feed_generators`."""
    return len((await stage.rest.get(f"/v1/users/{user.user_id}/feed", session=user)).get("feedEntries", []))


async def dead_letter(operator: Operator) -> str:
    """Waits for the one dead letter there is, and returns its name."""
    listed = await eventually(lambda: _listed(operator), "a dead letter")
    assert len(listed) == 1
    return str(Name(listed[0]["group"], listed[0]["stream"], listed[0]["id"]))


async def _listed(operator: Operator) -> list[Any]:
    return (await operator("dead-letters", "list", "--json")).lines


async def chain_of(operator: Operator, chain: str) -> list[str]:
    """Returns the streams that a chain went through, as far as analytics has seen it."""
    ended = await operator("trace", chain, "--json")
    return sorted(event["stream"] for event in json.loads(ended.out)["events"]) if ended.code == 0 else []


async def test_status_says_exactly_how_the_bus_stands(stage: Stage, operator: Operator) -> None:
    user = await trader(stage)
    await trade(stage, user)

    async def settled() -> Any:
        streams = {row["stream"]: row for row in json.loads((await operator("status", "--json")).out)["streams"]}
        groups = [group for row in streams.values() for group in row["groups"]]
        return streams if all((group["lag"], group["pending"]) == ("0", "0") for group in groups) else None

    streams = await eventually(settled, "quiet streams")
    traded = streams[TRADED]
    assert (traded["length"], traded["lastOrdinal"], traded["stopped"]) == ("1", "1", "")
    assert {"revenue_trackers", "social_feed_generators"} <= {group["group"] for group in traded["groups"]}
    assert all(group["consumers"] >= 1 and "oldestAge" not in group for group in traded["groups"])
    shown = await operator("status")
    assert "trading.trade_executed" in shown.out
    assert "revenue_trackers" in shown.out


async def test_tail_and_trace_show_one_chain(stage: Stage, operator: Operator) -> None:
    user = await trader(stage)
    other, chain = f"other-{uuid.uuid4().hex[:8]}", f"tailed-{uuid.uuid4().hex[:8]}"
    tail = await operator.begin("tail", "--json", "--correlation-id", chain, "--since", "1m", "--count", "6")
    await trade(stage, user, other)
    await trade(stage, user, chain)
    ended = await operator.end(tail)
    assert (ended.code, len(ended.lines)) == (0, 6)
    assert {event["correlationId"] for event in ended.lines} == {chain}
    first = next(event for event in ended.lines if event["stream"] == TRADED)
    assert (first["data"]["symbol"], first["userId"]) == ("STRK", user.user_id)

    async def whole() -> list[str]:
        return found if len(found := await chain_of(operator, chain)) >= 6 else []

    traced = await eventually(whole, "the trace")
    assert sorted(event["stream"] for event in ended.lines) == traced
    shown = await operator("trace", chain)
    assert "└── " in shown.out
    assert f"{len(traced)} events" in shown.out
    by_user = await operator("tail", "--json", "--user", user.user_id, "--since", "5m", "--count", "3")
    assert {event["userId"] for event in by_user.lines} == {user.user_id}
    by_stream = await operator("tail", "--json", "--stream", "trading.trade_executed", "--since", "5m", "--count", "2")
    assert {event["stream"] for event in by_stream.lines} == {TRADED}


async def test_a_poisonous_event_is_shown_retried_and_dropped(stage: Stage, operator: Operator) -> None:
    user, mesh = await trader(stage), stage.running.mesh
    with poisoned(mesh, user):
        chain = await trade(stage, user)
        name = await dead_letter(operator)
        assert name.startswith("revenue_trackers/trading.trade_executed/")
        shown = await operator("dead-letters", "show", name)
        assert chain in shown.out
        assert "IntegrityError: poisoned" in shown.out
        refused = await operator("dead-letters", "retry", name)
        assert (refused.code, "poisoned" in refused.out) == (1, True)
        assert await dead_letter(operator) == name
    retried = await operator("dead-letters", "retry", name)
    assert (retried.code, "applied" in retried.out) == (0, True), retried
    assert await _listed(operator) == []
    revenue = "astra.financial.revenue_recorded.v1"
    await eventually(lambda: _traced(operator, chain, revenue), "the revenue of the retried event")
    assert (await operator("dead-letters", "retry", name)).code == 1
    assert (await chain_of(operator, chain)).count(revenue) == 1
    with poisoned(mesh, user):
        dropped_chain = await trade(stage, user)
        name = await dead_letter(operator)
    dropped = await operator("dead-letters", "drop", name, "--json")
    assert dropped.lines == [{"name": name, "ok": True, "outcome": "dropped"}]
    assert await _listed(operator) == []
    assert revenue not in await chain_of(operator, dropped_chain)
    actions = (await operator("actions", "--json")).lines
    assert [action["rpc"] for action in actions[:5]] == [
        "DropDeadLetter",
        "RetryDeadLetter",
        "RetryDeadLetter",
        "RetryDeadLetter",
        "GetDeadLetter",
    ]
    assert {action["userId"] for action in actions} == {stage.admin.user_id}


async def _traced(operator: Operator, chain: str, stream: str) -> bool:
    return stream in await chain_of(operator, chain)


async def test_a_replay_has_no_effect_twice_unless_forced(stage: Stage, operator: Operator) -> None:
    user = await trader(stage)
    await trade(stage, user)
    await eventually(lambda: feed_of(stage, user), "the feed entry")
    replay = ("replay", "social_feed_generators", "--stream", "trading.trade_executed", "--from", "1")
    last = (await operator(*replay, "--json")).lines[-1]
    total = int(last["total"])
    assert (last["done"], last["alreadyApplied"], last["applied"]) == (str(total), str(total), "0")
    assert await feed_of(stage, user) == 1
    # From here on the stream has lost all but its last entry, as by a trim: the rest comes from the outbox.
    async with connect(stage.running.mesh, "bridge") as redis:
        await redis.xtrim(TRADED, maxlen=1, approximate=False)
    for expected in (2, 3):
        last = (await operator(*replay, "--json", "--force")).lines[-1]
        assert (last["total"], last["applied"], last["gone"]) == (str(total), str(total), "0")
        assert await feed_of(stage, user) == expected
    shown = await operator(*replay)
    assert f"{total} of {total} events: {total} applied before" in shown.out


async def test_a_replay_outlives_its_bridge(stage: Stage, operator: Operator) -> None:
    user = await trader(stage)
    for _ in range(8):
        await trade(stage, user)
    await eventually(lambda: _has(stage, user, 8), "the feed entries")
    arguments = ("--stream", "trading.trade_executed", "--from", "1", "--force", "--rate", "4", "--json")
    process = await operator.begin("replay", "social_feed_generators", *arguments)
    assert process.stdout is not None
    async with asyncio.timeout(DEADLINE_SECONDS):
        while int(json.loads(await process.stdout.readline())["done"]) < 3:
            pass
    stage.running.kill("bridge")
    ended = await operator.end(process)
    assert ended.code == 0, ended.err
    last = ended.lines[-1]
    assert (last["done"], last["failed"], last["gone"]) == (last["total"], "0", "0")
    assert await feed_of(stage, user) == 16, "each had its effect once more"


async def _has(stage: Stage, user: Session, count: int) -> bool:
    return await feed_of(stage, user) >= count


async def test_only_an_admin_is_let_in(stage: Stage, operator: Operator, tmp_path: Path) -> None:
    user, mesh = await trader(stage), stage.running.mesh
    refused = await operator("status", ASTRA_TOKEN=user.token)
    assert (refused.code, "only an admin may" in refused.err) == (1, True)
    refused = await operator("status", ASTRA_TOKEN="made-up")
    assert (refused.code, "ASTRA_TOKEN" in refused.err) == (1, True)
    wrong = await operator("status", "--as", "first-admin2", ASTRA_ADMIN_PASSWORD="wrong password")
    assert (wrong.code, "cannot sign in" in wrong.err) == (1, True)
    service = ServiceToken(mesh.keys_dir, "operator").bearer()
    for token, path, code in (
        (service, "/astra.bridge.v1.BusService/GetBusStatus", "UNAUTHENTICATED"),
        (stage.admin.token, "/astra.event.v1.GroupService/GetGroups", "UNIMPLEMENTED"),
        (stage.admin.token, "/astra.event.v1.GroupService/ApplyEvents", "UNIMPLEMENTED"),
        (stage.admin.token, "/astra.bridge.v1.BusService/GetBusStatus", "OK"),
    ):
        assert await _code(mesh, path, token) == code, path


async def _code(mesh: Mesh, path: str, token: str) -> str:
    """Calls the public listener and returns the code."""
    request = group_pb.GetGroupsRequest() if "Group" in path else pb.GetBusStatusRequest()
    async with grpc.aio.insecure_channel(mesh.addresses["envoy-public"]) as channel:
        call: Any = channel.unary_unary(path, request_serializer=type(request).SerializeToString)
        try:
            await call(request, metadata=(("authorization", f"Bearer {token}"),), timeout=10)
        except grpc.aio.AioRpcError as error:
            return error.code().name
    return "OK"


async def test_a_stopped_stream_is_shown_by_a_bridge_that_is_not_ready(stage: Stage, operator: Operator) -> None:
    """The last test: the mesh stays like that."""
    stream = "astra.nft.nft_sold.v1"
    async with connect(stage.running.mesh, "bridge") as redis:
        await redis.xadd(stream, {"e": b"stray"}, id="5-5")
    stage.running.kill("bridge")

    async def stopped() -> str:
        ended = await operator("status", "--json")
        rows = json.loads(ended.out)["streams"] if ended.code == 0 else []
        return next((row["stopped"] for row in rows if row["stream"] == stream), "")

    assert "DIVERGED" in await eventually(stopped, "the divergence")
