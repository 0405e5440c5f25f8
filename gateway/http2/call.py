"""One rpc on a connection: the messages that came, what is left to send, and how it ended."""

import asyncio
from collections import deque
from typing import Protocol

from grpc import StatusCode

from gateway.http2.frames import ConnectionFault, ErrorCode
from gateway.http2.hpack import Headers
from gateway.http2.limits import Limits
from gateway.http2.messages import Messages, prefixed
from gateway.http2.status import CallFailed, failure_of, reset_failure


class Carrier(Protocol):
    """What a call needs of its connection."""

    def push(self, call: "Call") -> None:
        """Sends what the call has left to send, as far as the windows reach, now and later."""

    def grant(self, call: "Call", size: int) -> None:
        """Lets the server send more bytes on the call."""

    def drop(self, call: "Call", reset: ErrorCode | None) -> None:
        """Forgets a call that has ended, and resets its stream if the server does not know that."""


class Call:
    """One rpc. It ends by itself at its deadline, and has to be cancelled if nobody waits for it any more.

    Reading is what lets the server go on: of a stream nobody reads, only a window's bytes arrive.
    """

    __slots__ = (
        "_carrier", "_deadline", "_failure", "_messages", "_owed", "_reader", "_ready", "_sender", "_unread",
        "_window_bytes", "ended", "half_closed", "headers", "send_window", "stream", "trailers", "unsent",
    )  # fmt: skip

    def __init__(self, carrier: Carrier, stream: int, send_window: int, limits: Limits) -> None:
        self._carrier = carrier
        self._window_bytes = limits.stream_window_bytes
        self._messages = Messages(limits.max_message_bytes)
        self._ready: deque[tuple[bytes, int]] = deque()
        self._unread = 0
        """Bytes on the wire of the messages in `_ready`."""
        self._owed = 0
        """Bytes received that the server has not been allowed anew."""
        self._reader: asyncio.Future[None] | None = None
        self._sender: asyncio.Future[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._failure: CallFailed | None = None
        self.stream = stream
        self.send_window = send_window
        self.unsent: memoryview | None = None
        """What the windows have not let through yet."""
        self.half_closed = False
        """Whether no more is to be sent after `unsent`."""
        self.ended = False
        self.headers: dict[str, str] = {}
        self.trailers: dict[str, str] = {}

    # What its caller does.

    async def read(self) -> bytes | None:
        """Returns the next message; None after the last.

        Raises:
            CallFailed: the call ended with an error.
        """
        while not self._ready:
            if self.ended:
                if self._failure is not None:
                    raise self._failure
                return None
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        message, size = self._ready.popleft()
        self._unread -= size
        if not self.ended and (taken := self._owed - self._unread) * 2 >= self._window_bytes:
            self._grant(taken)
        return message

    async def finish(self) -> list[bytes]:
        """Waits for the end and returns all messages that were not read; of an endless stream it would never return.

        Raises:
            CallFailed: as `read`.
        """
        while not self.ended:
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        if self._failure is not None:
            raise self._failure
        return [message for message, _ in self._ready]

    async def send(self, message: bytes) -> None:
        """Sends a message, as fast as the server takes it. After the end of the call nothing is sent."""
        if self.ended:
            return
        self.unsent = memoryview(prefixed(message))
        self._carrier.push(self)
        while self.unsent is not None and not self.ended:
            self._sender = asyncio.get_running_loop().create_future()
            await self._sender

    def finish_sending(self) -> None:
        """Says that no more messages come."""
        if not self.ended and not self.half_closed:
            self.half_closed = True
            self._carrier.push(self)

    def cancel(self) -> None:
        """Ends the call, and tells the server. A call that has ended stays as it is."""
        if not self.ended:
            self.fail(CallFailed(StatusCode.CANCELLED, "the call was cancelled"), ErrorCode.CANCEL)

    def end_in(self, seconds: float) -> None:
        """Sets the deadline."""
        self._deadline = asyncio.get_running_loop().call_later(max(0.0, seconds), self._expire)

    # What its connection does.

    def took_headers(self, headers: Headers, *, last: bool) -> None:
        """Takes initial metadata, or trailers."""
        if last:
            self.trailers = dict(headers)
            self._end(failure_of(self.headers, self.trailers))
            return
        found = dict(headers)
        if found.get(":status", "").startswith("1"):
            return
        self.headers = found
        if found.get(":status") != "200" or not found.get("content-type", "").startswith("application/grpc"):
            # What comes now is a page of some other server, and no message.
            self.fail(failure_of(found, {}) or CallFailed(StatusCode.UNKNOWN, "no gRPC answer"), ErrorCode.CANCEL)

    def took_data(self, data: bytes, size: int, *, last: bool) -> None:
        """Takes a piece of the answer that was `size` bytes on the wire."""
        self._owed += size
        if self._owed > self._window_bytes:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "more data than a stream's window takes")
        try:
            found = self._messages.take(data, self.headers.get("grpc-encoding"))
        except CallFailed as failure:
            self.fail(failure, ErrorCode.CANCEL)
            return
        for message in found:
            self._unread += message[1]
            self._ready.append(message)
        if last:
            self._end(CallFailed(StatusCode.INTERNAL, "the server ended the stream without trailers"))
            return
        if (taken := self._owed - self._unread) * 2 >= self._window_bytes:
            self._grant(taken)
        if found:
            self._wake()

    def took_reset(self, code: int) -> None:
        self._close(reset_failure(code), None)

    def sent(self) -> None:
        """Notes that nothing is left to send."""
        self.unsent = None
        if self._sender is not None and not self._sender.done():
            self._sender.set_result(None)

    def fail(self, failure: CallFailed, reset: ErrorCode | None = None) -> None:
        """Ends the call; with `reset` the server is told."""
        if not self.ended:
            self._close(failure, reset)

    def _end(self, failure: CallFailed | None) -> None:
        """Ends the call as the server says."""
        if failure is None and self._messages.partial:
            failure = CallFailed(StatusCode.INTERNAL, "the server ended the stream within a message")
        # A server that ends early does not want the rest of the request.
        self._close(failure, None if self.half_closed and self.unsent is None else ErrorCode.NO_ERROR)

    def _close(self, failure: CallFailed | None, reset: ErrorCode | None) -> None:
        self.ended = True
        self._failure = failure
        if self._deadline is not None:
            self._deadline.cancel()
        self._carrier.drop(self, reset)
        self._wake()
        self.sent()

    def _expire(self) -> None:
        self.fail(CallFailed(StatusCode.DEADLINE_EXCEEDED, "the deadline has passed"), ErrorCode.CANCEL)

    def _grant(self, size: int) -> None:
        self._owed -= size
        self._carrier.grant(self, size)

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
