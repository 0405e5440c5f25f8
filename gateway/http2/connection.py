"""One HTTP/2 connection to a gRPC server: begins calls, hands each what arrives for it, ends as the protocol says."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import cast

import structlog
from grpc import StatusCode

from gateway.http2 import frames
from gateway.http2.call import Call
from gateway.http2.frames import ConnectionFault, ErrorCode
from gateway.http2.limits import Limits
from gateway.http2.outlet import Outlet
from gateway.http2.pulse import Pulse
from gateway.http2.reading import Reader
from gateway.http2.sending import Sender
from gateway.http2.status import CallFailed, Unprocessed

log = structlog.get_logger("gateway")

_MOST_UNREAD_REPLIES = 1000


class Connection(asyncio.Protocol):
    """A connection, from its preface to its end. `changed` is called whenever it may take calls anew, or no more."""

    def __init__(self, limits: Limits, changed: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        self._limits = limits
        self._changed = changed
        self._calls: dict[int, Call] = {}
        self._reader = Reader(limits)
        self._next_stream = 1
        self._max_calls = frames.LARGEST_STREAM
        self._owed = 0
        """Bytes of DATA received that the server has not been allowed anew."""
        self.ready: asyncio.Future[None] = loop.create_future()
        """Done when the server's first SETTINGS are here, or will never be."""
        self.closed: asyncio.Future[None] = loop.create_future()
        self.draining = False
        """Whether calls in hand go on, but none begins."""
        self._over = False
        self._on: dict[int, Callable[[int, int, bytes], None]] = {
            frames.RST_STREAM: self._on_reset,
            frames.SETTINGS: self._on_settings,
            frames.PUSH_PROMISE: self._on_push,
            frames.PING: self._on_ping,
            frames.GOAWAY: self._on_goaway,
            frames.WINDOW_UPDATE: self._on_window,
        }

    @property
    def has_room(self) -> bool:
        """Whether a call may begin."""
        return not self.draining and len(self._calls) < self._max_calls and self.ready.done()

    def start(self, block: bytes, message: bytes | None) -> Call:
        """Begins a call with its header block, and its message if it has one alone."""
        stream = self._next_stream
        self._next_stream += 2
        if self._next_stream > frames.LARGEST_STREAM:
            self.draining = True
        call = self._calls[stream] = Call(self, stream, self._sender.initial_window, self._limits)
        self._sender.begin(call, block, message)
        return call

    async def close(self) -> None:
        """Says goodbye, ends the calls in hand, and waits until the peer has closed too."""
        self._end(ErrorCode.NO_ERROR, "the channel is closed")
        await asyncio.wait({self.closed}, timeout=self._limits.close_seconds)
        self._outlet.abort()

    # What a call does (call.Carrier).

    def push(self, call: Call) -> None:
        self._sender.push(call)

    def grant(self, call: Call, size: int) -> None:
        self._outlet.write(frames.window_update(call.stream, size))

    def drop(self, call: Call, reset: ErrorCode | None) -> None:
        full = len(self._calls) >= self._max_calls
        self._calls.pop(call.stream, None)
        self._sender.forget(call)
        if reset is not None:
            self._outlet.write(frames.rst_stream(call.stream, reset))
        if self.draining and not self._calls:
            self._end(ErrorCode.NO_ERROR, "")
        if full:
            self._changed()

    # What the transport does.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._outlet = Outlet(cast(asyncio.Transport, transport))  # uvloop's are none by inheritance
        self._sender = Sender(self._outlet.write)
        self._pulse = Pulse(
            self._limits,
            busy=lambda: bool(self._calls),
            ask=partial(self._outlet.write, frames.frame(frames.PING, 0, 0, b"alive?!\n")),
            dead=partial(self._fall, "the server does not answer any more"),
        )
        ours = {
            frames.ENABLE_PUSH: 0,
            frames.INITIAL_WINDOW_SIZE: self._limits.stream_window_bytes,
            frames.MAX_FRAME_SIZE: self._limits.max_frame_bytes,
            frames.MAX_HEADER_LIST_SIZE: self._limits.max_header_bytes,
        }
        wider = frames.window_update(0, self._limits.connection_window_bytes - frames.FIRST_WINDOW)
        self._outlet.write(frames.PREFACE + frames.settings(ours) + wider)

    def data_received(self, data: bytes) -> None:
        self._pulse.heard = True
        if self._over:
            return
        try:
            for kind, flags, stream, payload, headers in self._reader.feed(data):
                if kind == frames.DATA:
                    self._on_data(flags, stream, payload)
                elif kind == frames.HEADERS:
                    call = self._call(stream)
                    if call is not None:
                        call.took_headers(headers, last=bool(flags & frames.END_STREAM))
                elif (handle := self._on.get(kind)) is not None:
                    handle(flags, stream, payload)
        except ConnectionFault as fault:
            log.warning("upstream_broke_http2", problem=str(fault), code=fault.code.name)
            self._end(fault.code, f"the server broke HTTP/2: {fault}")

    def pause_writing(self) -> None:
        self._sender.pause()

    def resume_writing(self) -> None:
        self._sender.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        self._pulse.stop()
        self._fail_all("the connection broke")
        for waited in (self.ready, self.closed):
            if not waited.done():
                waited.set_result(None)
        self._changed()

    # What arrives.

    def _on_data(self, flags: int, stream: int, payload: bytes) -> None:
        size = len(payload)  # padding counts too
        self._owed += size
        if self._owed * 2 >= self._limits.connection_window_bytes:
            self._outlet.write(frames.window_update(0, self._owed))
            self._owed = 0
        call = self._call(stream)
        if call is not None:
            data = frames.unpadded(flags & frames.PADDED, payload) if flags & frames.PADDED else payload
            call.took_data(data, size, last=bool(flags & frames.END_STREAM))

    def _call(self, stream: int) -> Call | None:
        """Returns the call of a stream; None for one that has ended here before the server knew."""
        if not self.ready.done():
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the server does not begin with SETTINGS")
        if stream >= self._next_stream or not stream & 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"there is no stream {stream}")
        self._pulse.answered = True
        return self._calls.get(stream)

    def _on_reset(self, flags: int, stream: int, payload: bytes) -> None:
        call = self._call(stream)
        code = frames.number_in("RST_STREAM", payload)
        if call is not None:
            call.took_reset(code)

    def _on_push(self, flags: int, stream: int, payload: bytes) -> None:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE, which was refused")

    def _on_settings(self, flags: int, stream: int, payload: bytes) -> None:
        if stream != 0 or (flags & frames.ACK and payload):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "SETTINGS of a stream, or an acknowledgement with values")
        if flags & frames.ACK:
            return
        for name, value in frames.settings_in(payload):
            if name == frames.MAX_CONCURRENT_STREAMS:
                self._max_calls = value
            elif name == frames.MAX_FRAME_SIZE:
                self._sender.max_frame = value
            elif name == frames.INITIAL_WINDOW_SIZE:
                self._sender.resize(value, self._calls.values())
        self._sender.reply(frames.frame(frames.SETTINGS, frames.ACK, 0), _MOST_UNREAD_REPLIES)
        if not self.ready.done():
            self.ready.set_result(None)
        self._changed()

    def _on_ping(self, flags: int, stream: int, payload: bytes) -> None:
        if stream != 0 or len(payload) != 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"PING of {len(payload)} bytes on stream {stream}")
        if not flags & frames.ACK:
            self._sender.reply(frames.frame(frames.PING, frames.ACK, 0, payload), _MOST_UNREAD_REPLIES)

    def _on_goaway(self, flags: int, stream: int, payload: bytes) -> None:
        last, code, text = frames.goaway_in(payload)
        if code != ErrorCode.NO_ERROR:
            log.warning("upstream_goes_away", code=code, text=text[:200].decode("latin-1"))
        self.draining = True
        for call in [call for number, call in self._calls.items() if number > last]:
            call.fail(Unprocessed("the server went away before the call"))
        if not self._calls:
            self._end(ErrorCode.NO_ERROR, "")
        self._changed()

    def _on_window(self, flags: int, stream: int, payload: bytes) -> None:
        more = frames.number_in("WINDOW_UPDATE", payload) & frames.LARGEST_WINDOW
        if stream == 0:
            self._sender.widen(more)
        elif (call := self._call(stream)) is not None:
            self._sender.widen_call(call, more)

    # How it ends.

    def _end(self, code: ErrorCode, why: str) -> None:
        """Says goodbye with a code; calls in hand fail."""
        if self._over:
            return
        self._over = True
        self._outlet.write(frames.goaway(0, code))
        self._fail_all(why)
        self._outlet.close()

    def _fall(self, why: str) -> None:
        """Gives the connection up."""
        self._fail_all(why)
        self._outlet.abort()

    def _fail_all(self, why: str) -> None:
        self._over = self.draining = True
        for call in list(self._calls.values()):
            call.fail(CallFailed(StatusCode.UNAVAILABLE, why))
