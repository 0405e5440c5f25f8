"""Streams that end with their caller's access, also while there is nothing to send."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeVar

from services.runtime.context import Caller
from services.runtime.revocations import Revocations

Response = TypeVar("Response")


async def while_allowed(
    responses: AsyncIterator[Response], caller: Caller, revoked: Revocations
) -> AsyncGenerator[Response, None]:
    """Yields responses until the caller's token is refused. Raises `Unauthenticated` `TOKEN_REVOKED` then, at once.

    Services have no tokens that could be revoked: their streams are passed on as they are.
    """
    if not caller.user_id:
        async for response in responses:
            yield response
        return
    refusal = asyncio.ensure_future(revoked.refusal_of(caller))
    coming: asyncio.Future[Response] | None = None
    try:
        while True:
            coming = asyncio.ensure_future(anext(responses))
            await asyncio.wait({coming, refusal}, return_when=asyncio.FIRST_COMPLETED)
            if refusal.done():
                refusal.result()
            try:
                response = coming.result()
            except StopAsyncIteration:
                return
            revoked.check(caller)  # the rule may be newer than the waiter's turn
            yield response
    finally:
        left = [task for task in (refusal, coming) if task is not None]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
