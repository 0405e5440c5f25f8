"""The pulse of a process: a file it touches while it does its work, for a health check that has no certificate to ask.

Its container looks at the file's age. An event loop that is stuck touches nothing, and neither does a stopped process.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

PULSE = "ASTRA_PULSE"
"""Environment variable with the file's path; without it there is no pulse."""
BEAT_SECONDS = 1.0


@asynccontextmanager
async def beating() -> AsyncIterator[None]:
    """Touches the file of $ASTRA_PULSE every second for as long as the block lasts; then it is gone."""
    path = os.environ.get(PULSE)
    if not path:
        yield
        return
    task = asyncio.create_task(_beat(path), name="pulse")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


async def _beat(path: str) -> None:
    while True:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
        os.utime(path)
        await asyncio.sleep(BEAT_SECONDS)
