"""The stage of the flows, on the one mesh of the session."""

from collections.abc import AsyncIterator

import pytest_asyncio

from services.local import LocalMesh
from tests.story.play import Stage


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stage(running: LocalMesh) -> AsyncIterator[Stage]:
    async with Stage(running) as stage:
        yield stage
