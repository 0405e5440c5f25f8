"""The rules of leaderboards, as tables: periods in UTC and shared ranks."""

from datetime import UTC, datetime

import pytest

from services.gamification.boards import Board, period_end_ms, period_start_ms, shared_ranks


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("board", "start", "end"),
    [
        (Board.DAILY, "2026-03-01", "2026-03-02"),
        (Board.DAILY, "2024-02-29", "2024-03-01"),
        (Board.WEEKLY, "2026-11-16", "2026-11-23"),  # Monday to Monday
        (Board.WEEKLY, "2025-12-29", "2026-01-05"),  # over a new year
        (Board.WEEKLY, "1969-12-29", "1970-01-05"),  # the one of the epoch, a Thursday
        (Board.MONTHLY, "2026-01-01", "2026-02-01"),
        (Board.MONTHLY, "2026-02-01", "2026-03-01"),
        (Board.MONTHLY, "2024-02-01", "2024-03-01"),
        (Board.MONTHLY, "2026-11-01", "2026-12-01"),
        (Board.MONTHLY, "2026-12-01", "2027-01-01"),
    ],
)
def test_a_period_holds_its_first_and_its_last_millisecond(board: Board, start: str, end: str) -> None:
    start_ms, end_ms = ms(start), ms(end)
    for at_ms in (start_ms, (start_ms + end_ms) // 2, end_ms - 1):
        assert (period_start_ms(board, at_ms), period_end_ms(board, at_ms)) == (start_ms, end_ms)
    assert period_start_ms(board, end_ms) == end_ms
    assert period_end_ms(board, start_ms - 1) == start_ms


def test_the_all_time_period_never_ends() -> None:
    assert (period_start_ms(Board.ALL_TIME, 5), period_end_ms(Board.ALL_TIME, 5)) == (0, None)


@pytest.mark.parametrize(
    ("scores", "before", "better", "ranks"),
    [
        ([], 0, 0, []),
        ([9, 8, 7], 0, 0, [1, 2, 3]),
        ([9, 9, 7], 0, 0, [1, 1, 3]),
        ([9, 8, 8, 8, 7], 0, 0, [1, 2, 2, 2, 5]),
        ([8, 8, 7], 2, 1, [2, 2, 5]),  # a page that begins within a tie: 9, 8 | 8, 8, 7
        ([7, 6], 3, 3, [4, 5]),
    ],
)
def test_equal_scores_share_a_rank_and_the_next_counts_them_all(
    scores: list[int], before: int, better: int, ranks: list[int]
) -> None:
    assert shared_ranks(scores, before=before, better=better) == ranks
