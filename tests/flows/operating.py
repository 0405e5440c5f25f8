"""What operators' tests share: somebody who trades, and an event that one group cannot take."""

import asyncio
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from typing import Any

from services.mesh import Mesh
from tests.story.play import Stage
from tests.story.rest import Session

TRADED = "astra.trading.trade_executed.v1"
DEADLINE_SECONDS = 60.0


async def trader(stage: Stage) -> Session:
    """Registers somebody to trade."""
    username = f"u{uuid.uuid4().hex[:12]}"
    await stage.rest.register(username)
    return await stage.rest.login(username)


async def trade(stage: Stage, user: Session, chain: str = "") -> str:
    """Makes a small trade and returns its correlation id."""
    chain = chain or f"trade-{uuid.uuid4().hex[:12]}"
    await stage.rest.trade(user, "STRK", Decimal(100), correlation_id=chain)
    return chain


async def eventually(look: Callable[[], Any], what: str) -> Any:
    """Repeats a look until it finds something, and returns that."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            if found := await look():
                return found
            await asyncio.sleep(0.1)


@contextmanager
def poisoned(mesh: Mesh, user: Session) -> Iterator[None]:
    """Makes every revenue from a user fail in the service's own database; mended afterwards."""
    with closing(sqlite3.connect(mesh.database("financial"), timeout=10)) as database:
        database.execute(
            "CREATE TRIGGER poison BEFORE INSERT ON revenue"
            f" WHEN NEW.user_id = '{user.user_id}' BEGIN SELECT RAISE(ABORT, 'poisoned'); END"
        )
        database.commit()
        yield
        database.execute("DROP TRIGGER poison")
        database.commit()
