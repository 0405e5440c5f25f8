"""Random whole-system runs: many users, random commands by REST, repeats and kills; then everything agrees."""

import asyncio
import os
import random
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from services.local import LocalMesh
from services.mesh import Mesh
from tests.story.play import UNRELATED, Stage
from tests.story.privacy import everything_said, leaks
from tests.story.rest import Session
from tests.system.commands_money import COMMANDS
from tests.system.controls import PLANTED, double_effects, spoilings
from tests.system.crowd import Crowd
from tests.system.findings import Evidence
from tests.system.invariants import differences
from tests.system.world import look, sagas

USERS = 50
NUMBER = int(os.environ.get("SYSTEM_COMMANDS", "400"))
"""Commands of the slice in `make test`; `make system` gives 2,000."""
SEED = int(os.environ.get("SYSTEM_SEED", "7"))
AT_ONCE = 8
CLANS, MEMBERS = 4, 6
"""Clans that there are from the start, so that battles can be fought."""
KILLS = ("gamification", "trading-react", "social", "financial", "nft", "user", "analytics", "bridge")
COMMANDS_PER_ROUND_OF_KILLS = 500
PATIENCE_SECONDS = 90.0


async def signed_in(stage: Stage, name: str, doors: asyncio.Semaphore) -> Session:
    async with doors:
        await stage.rest.register(name)
        return await stage.rest.login(name)


async def found_clans(crowd: Crowd) -> None:
    for number in range(CLANS):
        owner, *others = crowd.users[number * MEMBERS : (number + 1) * MEMBERS]
        clan = await crowd.send("/v1/clans", {"name": f"clan {number}"}, owner)
        crowd.journal.clans[clan["clanId"]] = clan["name"]
        for other in others:
            await crowd.send(f"/v1/clans/{clan['clanId']}:join", {}, other)


async def kill_in_between(running: LocalMesh, crowd_done: asyncio.Event, chance: random.Random) -> list[str]:
    """Kills processes that react, one after the other at random moments, until the crowd is done; returns whom."""
    killed: list[str] = []
    rounds = max(1, NUMBER // COMMANDS_PER_ROUND_OF_KILLS)
    for name in [name for _ in range(rounds) for name in chance.sample(KILLS, len(KILLS))]:
        try:
            await asyncio.wait_for(crowd_done.wait(), chance.uniform(0.3, 1.5))
        except TimeoutError:
            pid = running.kill(name)
            killed.append(name)
            await asyncio.to_thread(running.wait_ready, name, not_pid=pid)
        else:
            break
    return killed


async def run_crowd(stage: Stage, crowd: Crowd, chance: random.Random) -> list[str]:
    """Has the crowd act, several at once, with kills in between; returns who was killed."""
    done, left = asyncio.Event(), iter(range(NUMBER))

    async def act() -> None:
        for _ in left:
            await crowd.act(COMMANDS)

    async with asyncio.TaskGroup() as tasks:
        killing = tasks.create_task(kill_in_between(stage.running, done, chance))
        await asyncio.gather(*(act() for _ in range(AT_ONCE)))
        done.set()
    return killing.result()


async def evidence_of(stage: Stage, crowd: Crowd, users: Sequence[Session]) -> Evidence:
    """Waits until all is done, what rests under the lease of a killed process included, and looks at everything."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        assert await stage.onlooker.look_until_quiet(deadline, ignore=UNRELATED), await stage.onlooker.unfinished()
        if not (left := await asyncio.to_thread(sagas, stage.running)):
            break
        assert time.monotonic() < deadline, left
    await stage.onlooker.reread()
    world = await look(stage.running, stage.rest, stage.admin, users)
    return Evidence(users=users, journal=crowd.journal, world=world, seen=stage.onlooker.seen)


@pytest.mark.timeout(600)
async def test_whatever_users_do_and_whatever_is_killed_everything_agrees_at_the_end(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    with LocalMesh(Mesh.at(tmp_path, free_ports=True)) as running:
        async with Stage(running) as stage:
            doors = asyncio.Semaphore(AT_ONCE)  # passwords are slow to hash, on purpose
            users = list(await asyncio.gather(*(signed_in(stage, f"user-{number}", doors) for number in range(USERS))))
            crowd = Crowd(running, stage.rest, stage.admin, users, chance)
            await found_clans(crowd)
            killed = await run_crowd(stage, crowd, chance)
            evidence = await evidence_of(stage, crowd, users)
            found = differences(evidence)
            said = sorted(set(leaks(await everything_said(stage), stage.rest.secrets)))
            unseen = [what for what, spoiled in spoilings(evidence) if not differences(spoiled)]
            await asyncio.to_thread(double_effects, running)
            planted = differences(await evidence_of(stage, crowd, users))
    journal = crowd.journal
    print(f"seed {SEED}: {NUMBER} commands, {journal.repeats} repeats, {len(killed)} kills: {', '.join(killed)}")
    print(f"done: {dict(journal.done)}")
    print(f"refused: {dict(journal.refusals)}")
    print(f"{len(evidence.seen)} events; {len(evidence.world.battles)} battles, {len(journal.purchases)} purchases")
    assert not found, "\n".join(found[:20])
    assert not said, "\n".join(said[:20])
    assert not unseen, f"the comparison does not see {unseen}"
    assert not [kind for kind in PLANTED if not any(each.startswith(kind) for each in planted)], planted
    assert killed, "nothing was killed: the run was too short to prove anything"
    assert not [reason for reason in journal.refusals if reason.isdigit()], "refused without a reason"
