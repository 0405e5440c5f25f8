"""Slots: numbers that the processes of one database share out among themselves, for names that are stable."""

import fcntl
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Self

MOST = 1_000


class Slots:
    """Holds the lowest numbers that no other process holds; the kernel frees them when this process ends."""

    def __init__(self, folder: Path, name: str, count: int) -> None:
        self._held = ExitStack()
        self.numbers: list[int] = []
        """The numbers, from 0."""
        for number in range(MOST):
            if len(self.numbers) == count:
                return
            path = folder / f"{name}-{number}.slot"
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                continue
            self._held.callback(os.close, descriptor)
            self.numbers.append(number)
        self.close()
        raise OSError(f"{folder}: all {MOST} slots of {name} are held")

    def close(self) -> None:
        """Frees the numbers."""
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
