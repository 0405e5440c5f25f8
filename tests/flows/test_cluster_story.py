"""The 36-event story on a whole mesh whose Redis is a cluster that fails over while the trades are on their way."""

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.local import LocalMesh
from services.mesh import Mesh
from services.runtime.credentials import make_credentials
from tests.chaos.streams_cluster import StreamsCluster
from tests.story.chains import STORY_3, Act
from tests.story.play import Stage

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[StreamsCluster]:
    mesh = Mesh.at(tmp_path / "mesh", free_ports=True)
    make_credentials(mesh)
    made = StreamsCluster(mesh, random.Random(36))
    try:
        asyncio.run(_started(made))
        yield made
    finally:
        made.kill()


async def _started(cluster: StreamsCluster) -> None:
    await cluster.start()
    await _let_go(cluster)


async def _let_go(cluster: StreamsCluster) -> None:
    """Closes the connections that belong to this loop."""
    await cluster.client.aclose()
    for node in cluster.cluster.nodes:
        await node.client.aclose()


def test_story_is_told_exactly_while_primaries_fail_over(cluster: StreamsCluster) -> None:
    async def fail_over(act: Act) -> None:
        await cluster.fail_over("TAKEOVER", behind_seconds=0.03)

    async def play(running: LocalMesh) -> None:
        async with Stage(running, deadline_seconds=90) as stage:
            outcome = await stage.play("story-3", STORY_3, fail_over)
        assert not outcome.differences
        assert len(outcome.observed) == 36
        await _let_go(cluster)

    with LocalMesh(cluster.mesh) as running:
        asyncio.run(play(running))
    assert cluster.failovers == len(STORY_3)
