"""Correlation ids: UUIDs of version 7 (RFC 9562), their randomness read in advance."""

import os
import time
from collections.abc import Callable

_RANDOM_BYTES = 10
_IN_ADVANCE = 512
"""A system call a request would cost more than all the rest of an id."""


class Ids:
    """Makes ids that sort by the millisecond they were made in."""

    def __init__(
        self, clock_ns: Callable[[], int] = time.time_ns, random_bytes: Callable[[int], bytes] = os.urandom
    ) -> None:
        self._clock_ns = clock_ns
        self._random_bytes = random_bytes
        self._pool = b""
        self._at = 0

    def __call__(self) -> str:
        if self._at + _RANDOM_BYTES > len(self._pool):
            self._pool, self._at = self._random_bytes(_RANDOM_BYTES * _IN_ADVANCE), 0
        end = self._at + _RANDOM_BYTES
        random = int.from_bytes(self._pool[self._at : end], "big")
        self._at = end
        milliseconds = self._clock_ns() // 1_000_000 & 0xFFFFFFFFFFFF
        # 48 bits of time, version 7, 12 random bits, variant 10, 62 random bits.
        number = milliseconds << 80 | 0x7 << 76 | (random >> 62 & 0xFFF) << 64 | 0b10 << 62 | random & (1 << 62) - 1
        text = f"{number:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
