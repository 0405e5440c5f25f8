"""The acceptance stories on a real mesh: REST in at the gateway, events out of the streams."""

import random
from pathlib import Path

import pytest

from services.local import LocalMesh
from services.mesh import Mesh
from tests.story.chains import STORY_1, STORY_2, STORY_3
from tests.story.check import domain_counts
from tests.story.kills import kill_all_in_turn
from tests.story.play import Stage

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_trade_reaches_every_domain(stage: Stage) -> None:
    outcome = await stage.play("story-1", STORY_1)
    assert outcome.differences == []
    assert len(outcome.observed) == 6


async def test_a_trade_that_lifts_its_user_a_level_is_rewarded(stage: Stage) -> None:
    outcome = await stage.play("story-2", STORY_2)
    assert outcome.differences == []
    assert len(outcome.observed) == 10


async def test_four_trades_make_exactly_36_events(stage: Stage) -> None:
    outcome = await stage.play("story-3", STORY_3)
    assert outcome.differences == []
    counts = domain_counts(outcome.observed)
    assert counts == {"trading": 8, "gamification": 7, "social": 7, "user": 7, "financial": 4, "nft": 3}


@pytest.mark.timeout(300)
async def test_the_36_events_stay_36_when_every_process_is_killed_in_their_middle(tmp_path: Path) -> None:
    chance = random.Random(36)
    with LocalMesh(Mesh.at(tmp_path, free_ports=True)) as running:
        before = running.pids()
        async with Stage(running, deadline_seconds=120) as stage:
            outcome = await stage.play("story-3", STORY_3, kill_all_in_turn(running, STORY_3, chance))
        after = running.pids()
    assert {name for name in before if before[name] == after[name]} == set(), "not every process was killed"
    assert outcome.differences == []
    assert len(outcome.observed) == 36
