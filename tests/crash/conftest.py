"""Servers of a test's own."""

from collections.abc import Iterator

import pytest

from tests.unit_bridge.valkey import Valkey


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    started = Valkey(tmp_path_factory.mktemp("valkey"), "--appendonly", "yes")
    started.start()
    yield started
    started.kill()
