"""A slice of `make chaos`, and the controls: what others do must not pass it."""

import asyncio
from collections.abc import Callable

import pytest

from tests.chaos.report import print_outcome
from tests.chaos.run import Options, Outcome, run

SLICE_SECONDS = 35.0
CONTROL_SECONDS = 8.0
CONTROL_RUNS = 4
SEED = 20_261

pytestmark = pytest.mark.timeout(300)


def outcome_of(options: Options) -> Outcome:
    """Runs it on a loop of its own; the print-out is shown if the test fails."""
    outcome = asyncio.run(run(options))
    print_outcome(outcome)
    return outcome


def test_whatever_is_killed_cut_or_full_nothing_is_lost_doubled_or_out_of_order() -> None:
    outcome = outcome_of(Options(seconds=SLICE_SECONDS, seed=SEED))
    assert outcome.right
    assert outcome.fleet.kills.total() > 10
    assert outcome.fleet.points.total() > 3
    assert outcome.faults.done["tail cut"] > 0


@pytest.mark.long
def test_whatever_fails_over_nothing_is_lost_doubled_or_out_of_order() -> None:
    outcome = outcome_of(Options(seconds=SLICE_SECONDS, seed=SEED, cluster=True))
    assert outcome.right
    assert outcome.faults.done["takeover by one left behind"] + outcome.faults.done["failover forced"] > 0
    assert outcome.fleet.kills.total() > 5


def caught(control: str, wrong: Callable[[Outcome], int], *, cluster: bool = False) -> bool:
    """Tells whether a control is caught in one of a few short runs: on a busy machine one may be too short."""
    return any(
        wrong(outcome_of(Options(seconds=CONTROL_SECONDS, seed=SEED + run, control=control, cluster=cluster)))
        for run in range(CONTROL_RUNS)
    )


@pytest.mark.long
def test_control_ids_made_by_redis_double_events() -> None:
    assert caught("xadd-star", lambda outcome: outcome.verdict.streams.doubled)


@pytest.mark.long
def test_control_cursor_kept_elsewhere_loses_what_redis_lost() -> None:
    assert caught("cursor-elsewhere", lambda outcome: outcome.verdict.streams.lost)


@pytest.mark.long
def test_control_cursor_kept_elsewhere_loses_what_failovers_lost() -> None:
    assert caught("cursor-elsewhere", lambda outcome: outcome.verdict.streams.lost, cluster=True)


@pytest.mark.long
def test_control_acknowledged_before_the_effect_loses_effects() -> None:
    def lost(outcome: Outcome) -> int:
        # With everything else in order, so that it is the effects alone that are missing.
        return outcome.verdict.effects.lost if outcome.converged and outcome.verdict.streams.right else 0

    assert caught("ack-before-effect", lost)
