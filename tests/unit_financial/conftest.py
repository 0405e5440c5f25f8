"""The bank that most tests of payments and subscriptions use."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit_financial.paying import Bank, bank_at


@pytest.fixture
async def bank(tmp_path: Path) -> AsyncIterator[Bank]:
    async with bank_at(tmp_path) as opened:
        yield opened
