"""Waits for what is to come, with a deadline."""

import asyncio
import time
from collections.abc import Awaitable, Callable

SECONDS = 15.0


async def until(condition: Callable[[], Awaitable[bool] | bool], what: str = "it", seconds: float = SECONDS) -> None:
    """Returns when the condition holds; fails when it does not in time."""
    deadline = time.monotonic() + seconds
    while True:
        holds = condition()
        if holds if isinstance(holds, bool) else await holds:
            return
        assert time.monotonic() < deadline, f"{what} did not happen in {seconds:.0f} s"
        await asyncio.sleep(0.01)
