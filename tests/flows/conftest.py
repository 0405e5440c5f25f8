"""One real mesh for all flows, on free ports in a temporary folder."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from services.local import LocalMesh
from services.mesh import Mesh
from tests.story.play import Stage


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalMesh]:
    mesh = Mesh.at(tmp_path_factory.mktemp("mesh"), free_ports=True)
    with LocalMesh(mesh) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stage(running: LocalMesh) -> AsyncIterator[Stage]:
    async with Stage(running) as stage:
        yield stage
