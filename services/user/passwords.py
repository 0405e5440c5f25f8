"""Passwords as Argon2id hashes, made and checked on few threads so that the event loop stays free."""

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from argon2.profiles import RFC_9106_LOW_MEMORY

from services.runtime.errors import ResourceExhausted
from services.user.model import password_text

THREADS = 2
"""Hashes made at once; each takes 64 MiB while it is made."""
MOST_WAITING = 64
"""Hashes asked for at once; at some 15 a second, whoever came after these would wait past the usual deadline."""

T = TypeVar("T")


class Passwords:
    """Hashes and verifies. `hasher` decides what a hash costs; RFC 9106's second choice unless told otherwise."""

    def __init__(
        self, hasher: PasswordHasher | None = None, *, threads: int = THREADS, most_waiting: int = MOST_WAITING
    ) -> None:
        self._hasher = hasher or PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="password")
        self._most_waiting = most_waiting
        self._asked = 0
        self._nobody = self._hasher.hash(secrets.token_urlsafe(32))

    async def hash(self, password: str) -> str:
        """Returns a new hash with a salt of its own. Raises `ResourceExhausted` when too many wait."""
        return await self._run(lambda: self._hasher.hash(password_text(password)))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Tells whether the hash is the password's; without a hash it is False, after as much work."""

        def verify() -> bool:
            try:
                self._hasher.verify(password_hash or self._nobody, password_text(password))
            except VerifyMismatchError:
                return False
            return password_hash is not None

        return await self._run(verify)

    def is_outdated(self, password_hash: str) -> bool:
        """Tells whether a hash was made with other parameters than new ones are."""
        return self._hasher.check_needs_rehash(password_hash)

    def close(self) -> None:
        """Ends the threads; what waits for them is cancelled."""
        self._threads.shutdown(cancel_futures=True)

    async def _run(self, work: Callable[[], T]) -> T:
        if self._asked >= self._most_waiting:
            raise ResourceExhausted("too many sign in at this moment; try again in a few seconds", reason="BUSY")
        self._asked += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._asked -= 1
