"""Server streams over the store: what a query finds now, then what each commit adds, wherever it was made."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import TypeVar

from services.runtime.store import Store
from services.runtime.transaction import Reader

Position = TypeVar("Position")
Found = TypeVar("Found")


async def watch(
    store: Store, query: Callable[[Reader, Position], Sequence[tuple[Position, Found]]], start: Position
) -> AsyncIterator[tuple[Position, Found]]:
    """Yields what `query(db, position)` finds after a position, in order, for as long as the caller stays.

    The query returns at most a page, each with its position; an empty page means that all was seen. A rpc makes a
    `resume_token` of the position, so that a caller who was cut off goes on where it was.
    """
    position = start
    while True:
        seen = store.wakeups.version
        page = await store.read(lambda db: query(db, position))  # noqa: B023 - called before position moves
        for position, found in page:
            yield position, found
        if not page:
            await store.wakeups.after(seen)
