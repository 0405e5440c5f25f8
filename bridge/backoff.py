"""How long to wait before the next try."""

from collections.abc import Callable

Random = Callable[[], float]
"""Returns a number in [0, 1)."""


class Backoff:
    """Waits that double up to a cap, each cut by up to a half at random so that many do not come back at once."""

    def __init__(self, first_seconds: float, cap_seconds: float, random: Random) -> None:
        self._first = first_seconds
        self._cap = cap_seconds
        self._random = random
        self._next = first_seconds

    def next_seconds(self) -> float:
        """Returns the next wait."""
        wait = self._next
        self._next = min(self._cap, wait * 2)
        return wait * (1 - self._random() / 2)

    def reset(self) -> None:
        """Begins again with the first wait, after a success."""
        self._next = self._first
