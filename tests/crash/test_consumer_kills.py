"""A consumer process that is killed between any two steps has each effect once."""

import asyncio
import signal
import sqlite3
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from services.mesh import ROOT
from tests.unit_bridge.consuming import EXECUTED, pending, publish
from tests.unit_bridge.polling import until
from tests.unit_bridge.valkey import Valkey

TRADES = [f"t{n}" for n in range(60)]


@asynccontextmanager
async def reacting(server: Valkey, database: Path, point: str, nth: int) -> AsyncIterator[Any]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.crash.reacting", server.url, str(database), point, str(nth), cwd=ROOT
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def be_killed(server: Valkey, database: Path, point: str, nth: int) -> None:
    async with reacting(server, database, point, nth) as process, asyncio.timeout(20):
        assert await process.wait() == -signal.SIGKILL


async def finish(server: Valkey, database: Path) -> None:
    """Runs the group until nothing is left to do, and stops it by SIGTERM."""
    async with reacting(server, database, "never", 0) as process, server.client() as redis:

        async def done() -> bool:
            groups: Any = await redis.xinfo_groups(EXECUTED)
            return groups[0]["entries-read"] == len(TRADES) and not await pending(redis)

        await until(done, "the end of the work")
        process.terminate()
        async with asyncio.timeout(10):
            assert await process.wait() == 0


def effects(database: Path) -> Counter[str]:
    with sqlite3.connect(database) as connection:
        return Counter(trade for (trade,) in connection.execute("SELECT trade_id FROM effect"))


@pytest.mark.parametrize("point", ["before-commit", "after-commit"])
async def test_consumer_killed_at_any_step_has_each_effect_once(server: Valkey, tmp_path: Path, point: str) -> None:
    database = tmp_path / "gamification.db"
    async with server.client() as redis:
        await publish(redis, *TRADES)
        for nth in (1, 7, 13):
            await be_killed(server, database, point, nth)
            assert await pending(redis), "it was killed with entries in hand"
    await finish(server, database)
    assert effects(database) == Counter(TRADES)


async def test_control_without_the_inbox_has_effects_twice(server: Valkey, tmp_path: Path) -> None:
    database = tmp_path / "gamification.db"
    async with server.client() as redis:
        await publish(redis, *TRADES)
    await be_killed(server, database, "without-inbox:after-commit", 7)
    await be_killed(server, database, "without-inbox:after-commit", 7)
    assert max(effects(database).values()) > 1
