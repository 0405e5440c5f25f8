"""What is told of every request when it ends: to the access log here, and to whoever else counts requests."""

import asyncio
import time
from collections.abc import Callable
from json.encoder import encode_basestring_ascii as quoted
from typing import NamedTuple, TextIO

_FLUSH_SECONDS = 0.05
_MOST_LINES = 256


class Ended(NamedTuple):
    """A request that has ended."""

    method: str
    path: str
    """As sent, without the query."""
    route: str
    """Template of the rule that took it; empty if none did."""
    status: int
    seconds: float
    correlation_id: str


class AccessLog:
    """Writes a line of JSON a request, gathered for a moment: a system call for each would cost more than the line."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.time) -> None:
        self._stream = stream
        self._clock = clock
        self._lines: list[str] = []
        self._timer: asyncio.TimerHandle | None = None
        self._second = 0
        self._stamp = ""

    def __call__(self, ended: Ended) -> None:
        now = self._clock()
        second = int(now)
        if second != self._second:
            self._second, self._stamp = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        # Written by hand, as structlog's JSON: method, path and route are a client's or a descriptor set's.
        self._lines.append(
            f'{{"method": {quoted(ended.method)}, "path": {quoted(ended.path)}, "route": {quoted(ended.route)}, '
            f'"status": {ended.status}, "ms": {ended.seconds * 1000:.2f}, "correlation_id": "{ended.correlation_id}", '
            f'"event": "request", "level": "info", "timestamp": "{self._stamp}.{int(now % 1 * 1e6):06}Z"}}\n'
        )
        if len(self._lines) >= _MOST_LINES:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_FLUSH_SECONDS, self.flush)

    def flush(self) -> None:
        """Writes what was gathered."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines, self._lines = self._lines, []
        if lines:
            self._stream.write("".join(lines))
            self._stream.flush()
