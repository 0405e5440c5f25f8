"""How often one username may be tried: the mesh limits callers, and whoever guesses passwords may be many of them."""

import hashlib
import math

from services.runtime.errors import ResourceExhausted
from services.runtime.limiter import Limiter

LIMIT = "login_of_username"


class SignInGuard:
    """Counts the attempts on each username, whether there is such a user or not."""

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter

    async def admit(self, username: str) -> None:
        """Counts an attempt. Raises `ResourceExhausted` when there were too many."""
        # Whatever was typed there, a password even, is nobody's to read in Redis.
        digest = hashlib.sha256(username.casefold().encode()).hexdigest()
        standing = await self._limiter.hit(LIMIT, digest)
        if standing is None or standing.allowed:
            return
        seconds = max(1, math.ceil(standing.reset_seconds))
        raise ResourceExhausted(
            f"too many attempts to sign in as this user; try again in {seconds} s",
            reason="TOO_MANY_SIGN_INS",
            retry_after_seconds=str(seconds),
            per_minute=str(standing.per_minute),
        )
