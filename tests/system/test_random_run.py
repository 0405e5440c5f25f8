"""Random whole-system runs: many users, random commands by REST, repeats and kills; then everything agrees."""

import asyncio
import os
import random
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from services.local import LocalMesh
from services.mesh import Mesh
from tests.story.play import UNRELATED, Stage
from tests.story.rest import Session
from tests.story.streams import Observed
from tests.system.commands import Crowd, Journal
from tests.system.invariants import differences

USERS = 50
COMMANDS = int(os.environ.get("SYSTEM_COMMANDS", "400"))
"""Commands of the slice in `make test`; `make system` gives 2,000."""
SEED = int(os.environ.get("SYSTEM_SEED", "7"))
AT_ONCE = 8
KILLS = ("gamification", "trading-react", "social", "financial", "nft", "user", "analytics", "bridge")


async def signed_in(stage: Stage, name: str, doors: asyncio.Semaphore) -> Session:
    async with doors:
        await stage.rest.register(name)
        return await stage.rest.login(name)


async def kill_in_between(running: LocalMesh, crowd_done: asyncio.Event, chance: random.Random) -> list[str]:
    """Kills processes that react, one after the other at random moments, until the crowd is done; returns whom."""
    killed = []
    for name in chance.sample(KILLS, len(KILLS)):
        try:
            await asyncio.wait_for(crowd_done.wait(), chance.uniform(0.3, 1.5))
        except TimeoutError:
            pid = running.kill(name)
            killed.append(name)
            await asyncio.to_thread(running.wait_ready, name, not_pid=pid)
        else:
            break
    return killed


def spoilings(journal: Journal, seen: list[Observed]) -> Iterator[tuple[str, tuple[Journal, list[Observed]]]]:
    """Yields ways in which a run could have gone wrong; the comparison must see each (the control)."""
    trade_id, trade = next(iter(journal.trades.items()))
    lost = {key: value for key, value in journal.trades.items() if key != trade_id}
    yield "a trade nobody asked for", (replace(journal, trades=lost), seen)
    dearer = {**trade, "fee": {"currencyCode": "USD", "amount": "99.00"}}
    yield "a wrong fee", (replace(journal, trades={**journal.trades, trade_id: dearer}), seen)
    awards = {**journal.awards, trade["userId"]: journal.awards.get(trade["userId"], 0) + 1}
    yield "XP that got lost", (replace(journal, awards=awards), seen)
    last = max(number for number, entry in enumerate(seen) if entry.stream not in UNRELATED)
    yield "an event that got lost", (journal, [*seen[:last], *seen[last + 1 :]])
    yield "an event that came twice", (journal, [*seen, seen[last]])


@pytest.mark.timeout(300)
async def test_whatever_users_do_and_whatever_is_killed_everything_agrees_at_the_end(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    with LocalMesh(Mesh.at(tmp_path, free_ports=True)) as running:
        async with Stage(running) as stage:
            doors = asyncio.Semaphore(AT_ONCE)  # passwords are slow to hash, on purpose
            users = list(await asyncio.gather(*(signed_in(stage, f"user-{number}", doors) for number in range(USERS))))
            crowd = Crowd(stage.rest, stage.admin, users, chance)
            done, left = asyncio.Event(), iter(range(COMMANDS))

            async def act() -> None:
                for _ in left:
                    await crowd.act()

            async with asyncio.TaskGroup() as tasks:
                killing = tasks.create_task(kill_in_between(running, done, chance))
                await asyncio.gather(*(act() for _ in range(AT_ONCE)))
                done.set()
            quiet = await stage.onlooker.look_until_quiet(asyncio.get_running_loop().time() + 60, ignore=UNRELATED)
            assert quiet, await stage.onlooker.unfinished()
            await stage.onlooker.reread()
            compare = partial(differences, stage.rest, stage.admin, users)
            found = await compare(crowd.journal, stage.onlooker.seen)
            unseen = [
                what for what, spoiled in spoilings(crowd.journal, stage.onlooker.seen) if not await compare(*spoiled)
            ]
    print(f"seed {SEED}: {COMMANDS} commands, {crowd.journal.repeats} repeats, killed {', '.join(killing.result())}")
    print(f"{len(crowd.journal.trades)} trades; refused: {crowd.journal.refusals}")
    assert not found, "\n".join(found[:20])
    assert not unseen, f"the comparison does not see {unseen}"
    assert killing.result(), "nothing was killed: the run was too short to prove anything"
