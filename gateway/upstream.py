"""The one way out: gRPC calls with raw bytes, to Envoy's internal listener or whatever stands in for it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from gateway.http2 import Call, CallFailed, Channel, Security, Unreachable
from gateway.outcome import Outcomes
from gateway.refusal import Refused, refusal


@dataclass(frozen=True, slots=True)
class Reply:
    payload: bytes
    metadata: Mapping[str, str]
    """Initial and trailing metadata together, as on the wire; of a repeated name the last counts."""


class Stream:
    """A call of any kind whose messages are read and sent one by one."""

    def __init__(self, call: Call, outcomes: Outcomes) -> None:
        self._call = call
        self._outcomes = outcomes
        self._fault: Refused | None = None

    async def read(self) -> bytes | None:
        """Returns the next message, or None at the end.

        Raises:
            Refused: the call ended with an error, or what the client sends cannot be passed on.
        """
        try:
            return await self._call.read()
        except CallFailed as failed:
            raise self._fault or _refused(failed, self._outcomes) from None

    async def reply(self) -> Reply:
        """Returns the one message of a call that answers with one, after its end.

        Raises:
            Refused: as `read`; or there is none, or more than one, with 502.
        """
        reply = await self.read()
        if reply is None or await self.read() is not None:
            raise _no_single_reply()
        return Reply(reply, {**self._call.headers, **self._call.trailers})

    async def send(self, messages: AsyncIterator[bytes]) -> None:
        """Sends every message, as fast as the service takes them."""
        try:
            async for message in messages:
                await self._call.send(message)
            self._call.finish_sending()
        except Refused as refused:
            self._fault = refused
            self._call.cancel()


class Upstream:
    """A channel to the mesh, shared by all requests. Use it as an async context manager."""

    def __init__(self, target: str, *, security: Security | None = None) -> None:
        self.target = target
        self.channel = Channel(target, security=security)

    async def call(
        self,
        rpc: str,
        payload: bytes,
        outcomes: Outcomes,
        *,
        metadata: tuple[tuple[str, str], ...],
        timeout_seconds: float,
    ) -> Reply:
        """Calls an rpc. A caller that is cancelled cancels the call.

        Raises:
            Refused: it ended with an error, or (502) without exactly one message.
        """
        try:
            replies, call = await self.channel.unary(rpc, payload, metadata=metadata, timeout_seconds=timeout_seconds)
        except CallFailed as failed:
            raise _refused(failed, outcomes) from None
        if len(replies) != 1:
            raise _no_single_reply()
        return Reply(replies[0], {**call.headers, **call.trailers})

    @asynccontextmanager
    async def stream(
        self,
        rpc: str,
        messages: AsyncIterator[bytes],
        outcomes: Outcomes,
        *,
        metadata: tuple[tuple[str, str], ...],
        timeout_seconds: float | None,
    ) -> AsyncIterator[Stream]:
        """Calls an rpc that streams and yields its stream. The call ends with the block, at the latest.

        Raises:
            Refused: it cannot begin.
        """
        try:
            call = await self.channel.begin(rpc, metadata=metadata, timeout_seconds=timeout_seconds)
        except CallFailed as failed:
            raise _refused(failed, outcomes) from None
        stream = Stream(call, outcomes)
        sending = asyncio.create_task(stream.send(messages))
        try:
            yield stream
        finally:
            call.cancel()
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def ready(self, within_seconds: float) -> bool:
        """Tells whether the channel is connected, or gets connected in time."""
        return await self.channel.ready(within_seconds)

    async def __aenter__(self) -> Self:
        await self.channel.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.channel.__aexit__(kind, error, trace)


def _refused(failed: CallFailed, outcomes: Outcomes) -> Refused:
    if isinstance(failed, Unreachable):
        return Refused(outcomes.unreachable())
    return Refused(outcomes.failure(failed.code, failed.message, failed.metadata))


def _no_single_reply() -> Refused:
    return refusal(502, "BAD_REPLY", "the service did not answer with exactly one message")
