"""A slice of a long time at OOM. Two minutes of it: `make chaos CHAOS_FULL=1 CHAOS_SECONDS=120`."""

import asyncio

import pytest

from tests.chaos.full_redis import FullRedis
from tests.chaos.report import print_outcome
from tests.chaos.run import Options, run

pytestmark = [pytest.mark.timeout(300), pytest.mark.long]


def test_full_redis_fails_no_read_refuses_no_trade_and_all_is_delivered_after() -> None:
    outcome = asyncio.run(run(Options(seconds=25, seed=7, full=True)))
    print_outcome(outcome)
    assert isinstance(outcome.faults, FullRedis)
    assert outcome.faults.reads > 50
    assert outcome.faults.failed_reads == []
    assert outcome.faults.trades_at_oom > 50
    assert outcome.right
