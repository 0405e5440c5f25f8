"""Turns between the writers of one database file in several processes.

Bare SQLite locking polls and starves: with three writing processes some callers waited over a second. Writers queue
here.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Turns:
    """A fair advisory lock beside a database; the kernel drops it when its holder dies.

    Two locks make it fair: whoever waits for `turn` holds `next`, so a writer that has just finished its turn stands
    behind the waiting ones instead of taking it again.
    """

    def __init__(self, database: Path) -> None:
        self._next, self._turn = (
            os.open(f"{database}.{name}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600) for name in ("next", "turn")
        )

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Waits for the turn and holds it. Not for several threads of one process: a process has one writer."""
        fcntl.flock(self._next, fcntl.LOCK_EX)
        try:
            fcntl.flock(self._turn, fcntl.LOCK_EX)
        finally:
            fcntl.flock(self._next, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(self._turn, fcntl.LOCK_UN)

    def close(self) -> None:
        os.close(self._next)
        os.close(self._turn)
