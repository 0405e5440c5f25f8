"""A clan battle through the whole mesh: trades score, its time is up, and the pot is on the fighters' accounts."""

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from services.local import LocalMesh
from tests.flows.clans import found_clan
from tests.story.day import let_time_pass
from tests.story.play import Stage

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATIENCE_SECONDS = 20


async def eventually(stage: Stage, path: str, good: Callable[[Any], bool]) -> Any:
    """Repeats a read until its answer is good."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            answer = await stage.rest.get(path, session=stage.admin)
            if good(answer):
                return answer
            await asyncio.sleep(0.05)


async def test_a_battle_pays_its_fighters(running: LocalMesh, stage: Stage) -> None:
    run = uuid.uuid4().hex[:8]
    await stage.rest.register(f"b{run}")
    user = await stage.rest.login(f"b{run}")
    own = await found_clan(stage, f"{run} home", user.user_id, f"{run}-h")
    other = await found_clan(stage, f"{run} away", f"{run}-a", f"{run}-a")
    challenge = {"type": "BATTLE_TYPE_COSMIC_CONQUEST", "duration": "3600s"}
    battle = await stage.rest.post(f"/v1/clans/{other}:challenge", challenge, session=user)
    path = f"/v1/battles/{battle['battleId']}"
    await stage.rest.post(f"{path}:accept", {"userId": f"{run}-a"}, session=stage.admin)
    trade = {
        "symbol": "BTC",
        "direction": "DIRECTION_LONG",
        "amount": {"currencyCode": "USD", "amount": "100"},
        "battleId": battle["battleId"],
    }
    await stage.rest.post(f"/v1/users/{user.user_id}/trades", trade, session=user)
    await eventually(stage, path, lambda found: found["challengerScore"] == "12.00")  # 10 for the trade, × 1.2
    let_time_pass(running, battle["battleId"])
    settled = await eventually(stage, path, lambda found: found["state"] == "BATTLE_STATE_COMPLETED")
    assert settled["winnerClanId"] == own
    rewards = {each["userId"]: each["reward"]["amount"] for each in settled["fighters"]}
    assert (rewards[user.user_id], rewards[f"{run}-a"], rewards[f"{run}-h1"]) == ("160", "8", "0")
    for user_id, reward in ((user.user_id, "160"), (f"{run}-a", "8")):
        shards = f"/v1/users/{user_id}/shards"
        await eventually(stage, shards, lambda found, reward=reward: found["balance"]["amount"] == reward)  # type: ignore[misc]
    assert (await stage.rest.get(f"/v1/clans/{own}", session=user))["rating"] == 1020
