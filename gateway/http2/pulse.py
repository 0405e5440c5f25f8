"""Whether a connection that says nothing still lives: it is asked by PING, but not so often that servers mind."""

import asyncio
from collections.abc import Callable

from gateway.http2.limits import Limits


class Pulse:
    """Watches one connection: `ask` sends a PING, `busy` tells of calls in hand, `dead` is called once."""

    def __init__(
        self, limits: Limits, *, busy: Callable[[], bool], ask: Callable[[], None], dead: Callable[[], None]
    ) -> None:
        self._limits = limits
        self._busy = busy
        self._ask = ask
        self._dead = dead
        self._asked = 0
        self.heard = True
        """Whether anything arrived since the last look; set by whoever hears it."""
        self.answered = False
        """Whether anything of a call did."""
        self._timer = asyncio.get_running_loop().call_later(limits.ping_after_seconds, self._look)

    def stop(self) -> None:
        self._timer.cancel()

    def _look(self) -> None:
        if self.answered:
            self._asked = 0
        ask = self._busy() and not self.heard and self._asked < self._limits.silent_pings
        self.heard = self.answered = False
        loop = asyncio.get_running_loop()
        if ask:
            self._asked += 1
            self._ask()
            self._timer = loop.call_later(self._limits.ping_seconds, self._listen)
        else:
            self._timer = loop.call_later(self._limits.ping_after_seconds, self._look)

    def _listen(self) -> None:
        if not self.heard:
            self._dead()
            return
        self._timer = asyncio.get_running_loop().call_later(self._limits.ping_after_seconds, self._look)
