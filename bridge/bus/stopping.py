"""Ends what would not end by itself when the bridge stops."""

import asyncio

from bridge.settling import pause
from services.runtime.errors import Unavailable


class Stopping:
    """Tells streams that their process stops."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def begin(self) -> None:
        """Ends every stream at its next look."""
        self._event.set()

    def check(self) -> None:
        """Raises `Unavailable` once the process stops; the caller goes on with another bridge."""
        if self._event.is_set():
            raise Unavailable("the bridge is stopping; connect again with the last resume_token", reason="STOPPING")

    async def pause(self, seconds: float) -> None:
        """Waits, but not longer than until the stop."""
        await pause(self._event, seconds)
