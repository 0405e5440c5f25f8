"""What goes out on a connection: as much as the peer's windows and the transport's buffer take, calls in turn."""

from collections.abc import Callable, Iterable

from gateway.http2 import frames, hpack
from gateway.http2.call import Call
from gateway.http2.frames import ConnectionFault, ErrorCode
from gateway.http2.messages import prefixed


class Sender:
    """Sends for the calls of one connection."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._window = frames.FIRST_WINDOW
        self._blocked: dict[int, Call] = {}
        """Calls that wait for a window or the transport, the first in turn first."""
        self._paused = False
        self._replies = 0
        # Our encoder keeps no table, and says so in its first block, whatever size the peer's decoder takes.
        self._before_block = hpack.integer(0, 5, 0x20)
        self.initial_window = frames.FIRST_WINDOW
        self.max_frame = frames.SMALLEST_MAX_FRAME

    def begin(self, call: Call, block: bytes, message: bytes | None) -> None:
        """Sends the header block of a call, and its message if it has one alone."""
        head = frames.header_frames(call.stream, self._before_block + block, self.max_frame)
        self._before_block = b""
        if message is None:
            self._write(head)
            return
        data = prefixed(message)
        call.half_closed = True
        size = len(data)
        if not self._paused and size <= self._window and size <= call.send_window and size <= self.max_frame:
            self._window -= size
            call.send_window -= size
            self._write(head + frames.frame(frames.DATA, frames.END_STREAM, call.stream, data))
            return
        self._write(head)
        call.unsent = memoryview(data)
        self.push(call)

    def push(self, call: Call) -> None:
        """Sends what a call has left, as far as it can be sent now; the rest waits its turn."""
        self._blocked.pop(call.stream, None)
        while call.unsent is not None:
            size = min(len(call.unsent), self._window, call.send_window, self.max_frame)
            if self._paused or size <= 0:
                self._blocked[call.stream] = call
                return
            piece, left = call.unsent[:size], call.unsent[size:]
            end = frames.END_STREAM if call.half_closed and not left else 0
            self._window -= size
            call.send_window -= size
            self._write(frames.frame(frames.DATA, end, call.stream, bytes(piece)))
            if not left:
                call.sent()
                return
            call.unsent = left
        if call.half_closed:
            self._write(frames.frame(frames.DATA, frames.END_STREAM, call.stream))

    def forget(self, call: Call) -> None:
        self._blocked.pop(call.stream, None)

    def reply(self, frame: bytes, most_unread: int) -> None:
        """Answers SETTINGS or PING.

        Raises:
            ConnectionFault: the peer goes on asking without reading the answers.
        """
        if self._paused:
            self._replies += 1
            if self._replies > most_unread:
                raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "the server asks without reading the answers")
        self._write(frame)

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        self._replies = 0
        self._go_on()

    def widen(self, more: int) -> None:
        """Takes a WINDOW_UPDATE of the connection."""
        self._window = _widened(self._window, more)
        self._go_on()

    def widen_call(self, call: Call, more: int) -> None:
        """Takes a WINDOW_UPDATE of a stream."""
        call.send_window = _widened(call.send_window, more)
        if call.stream in self._blocked:
            self.push(call)

    def resize(self, initial_window: int, calls: Iterable[Call]) -> None:
        """Takes INITIAL_WINDOW_SIZE, which holds for the calls in hand too; their windows may become negative."""
        change = initial_window - self.initial_window
        self.initial_window = initial_window
        for call in calls:
            call.send_window += change
            if call.send_window > frames.LARGEST_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a window over 2^31-1")
        self._go_on()

    def _go_on(self) -> None:
        for call in list(self._blocked.values()):
            if self._paused or self._window <= 0:
                return
            self.push(call)


def _widened(window: int, more: int) -> int:
    if more == 0:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a WINDOW_UPDATE of 0")
    if window + more > frames.LARGEST_WINDOW:
        raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a window over 2^31-1")
    return window + more
