"""The marketplace that most tests use: alice sells, bob and carol have shards."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit_nft.market import FakeWallets, Market, market_at


@pytest.fixture
async def market(tmp_path: Path) -> AsyncIterator[Market]:
    async with market_at(tmp_path, FakeWallets(bob=1_000, carol=1_000)) as opened:
        yield opened
