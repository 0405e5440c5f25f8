"""Fixtures that several test folders share."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from services.local import LocalMesh
from services.mesh import Mesh
from services.runtime.store import Store

OpenStore = Callable[..., Store]


@pytest.fixture
async def open_store(tmp_path: Path) -> AsyncIterator[OpenStore]:
    """Opens stores of a domain, `trading` unless named, and closes them after the test."""
    async with AsyncExitStack() as closing:

        def opened(domain: str = "trading", **options: object) -> Store:
            store = Store(tmp_path / domain / f"{domain}.db", domain=domain, **options)  # type: ignore[arg-type]
            closing.push_async_callback(store.close)
            return store

        yield opened


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalMesh]:
    """One real mesh for all flows and contracts, on free ports in a temporary folder."""
    mesh = Mesh.at(tmp_path_factory.mktemp("mesh"), free_ports=True)
    with LocalMesh(mesh) as running:
        yield running
