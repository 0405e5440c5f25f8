"""A bridge that comes to a long backlog holds two batches a stream of it, whatever its length."""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.bench.processes import rss_mb
from tests.bench.sides import end_all, ours
from tests.unit_bridge.consuming import EXECUTED
from tests.unit_bridge.polling import until
from tests.unit_bridge.valkey import Valkey

ROWS = int(os.environ.get("BACKLOG_ROWS", "120000"))
"""A million has been measured."""
WARM_ROWS = ROWS // 20
GROWTH_MB = 30.0


@pytest.mark.long
async def test_memory_of_the_bridge_does_not_grow_with_the_backlog(server: Valkey, tmp_path: Path) -> None:
    sizes: list[float] = []
    async with server.client() as redis:

        async def ordinal() -> int:
            info: Any = await redis.xinfo_stream(EXECUTED) if await redis.exists(EXECUTED) else None
            return int(info["last-generated-id"].decode().partition("-")[2]) if info else 0

        async def done() -> bool:
            at = await ordinal()
            if at >= WARM_ROWS:
                sizes.append(rss_mb(bridge.pid))
            return at == ROWS

        try:
            outbox = ours("outbox", str(tmp_path / "outbox" / "outbox.db"), str(ROWS))
            bridge = ours("publish", server.url, outbox.next()["address"], "0")
            await until(done, "the end of the backlog", 110)
        finally:
            end_all()
    print(f"{ROWS:,} rows: {sizes[0]:.0f} MB at {WARM_ROWS:,}, {max(sizes):.0f} MB at most, {len(sizes)} looks")
    assert len(sizes) > 3
    assert max(sizes) < sizes[0] + GROWTH_MB
