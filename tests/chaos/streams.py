"""What a run needs of the Redis under test, be it one server or a cluster."""

from typing import Protocol

from redis.asyncio import Redis


class Streams(Protocol):
    """The Redis of a mesh, which can lose what it had acknowledged, and be full."""

    client: Redis
    """May do everything."""

    async def start(self) -> None: ...

    def kill(self) -> None:
        """Ends all of it."""

    def cut(self, most_bytes: int) -> int:
        """Takes bytes off the end of an AOF. Returns how many. Its server must be down."""

    async def rewrite(self) -> None:
        """Has an AOF rewritten, in the background."""

    async def fill(self) -> None:
        """Leaves it no memory: every command that may need some is refused."""

    async def free(self) -> None:
        """Gives it its memory back."""

    async def close(self) -> None: ...
