"""The rules of streaks: which days follow each other, in UTC, and what a check-in brings."""

from collections.abc import Mapping

from services.gamification.boards import DAY_MS

CHECK_IN_XP = 25
STREAK_BONUS_XP: Mapping[int, int] = {3: 25, 7: 50}
"""XP on top, by the day of the streak it comes on: on that day alone, and again only in a streak begun anew."""


def day_of(at_ms: int) -> int:
    """Returns the UTC day of a moment, in days since 1970-01-01."""
    return at_ms // DAY_MS


def next_streak(days: int, last_day: int, today: int) -> int | None:
    """Returns the streak after a check-in today; None if the user has checked in today.

    A clock that was set back counts as the same day: nobody gains a day by it, and nobody loses a streak.
    """
    if today <= last_day:
        return None
    return days + 1 if today == last_day + 1 else 1


def check_in_xp(days: int) -> int:
    """Returns the XP of the check-in that makes a streak so many days long."""
    return CHECK_IN_XP + STREAK_BONUS_XP.get(days, 0)


def shown_streak(days: int, last_day: int, today: int) -> int:
    """Returns the streak as callers see it: 0 once a whole day has gone by without a check-in."""
    return days if today <= last_day + 1 else 0
