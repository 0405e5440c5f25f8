"""Time and ids, both injected wherever they are used so that tests can choose them."""

import time
from collections.abc import Callable

import uuid6

Clock = Callable[[], int]
"""Returns milliseconds since the epoch, UTC."""

Ids = Callable[[], str]
"""Returns a new id each time."""


def wall_clock() -> int:
    """Returns the machine's time."""
    return time.time_ns() // 1_000_000


def uuid7() -> str:
    """Returns a time-ordered id (RFC 9562)."""
    return str(uuid6.uuid7())
