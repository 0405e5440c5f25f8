"""HTTP/2 frames (RFC 9113, sections 4 and 6): how they are written, and how received bytes fall into them."""

from collections.abc import Iterator, Mapping
from enum import IntEnum
from struct import Struct
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
LARGEST_WINDOW: Final = 2**31 - 1
LARGEST_STREAM: Final = 2**31 - 1
FIRST_WINDOW: Final = 65_535
"""Of the connection, and of each stream until SETTINGS say otherwise."""
SMALLEST_MAX_FRAME: Final = 16_384
LARGEST_MAX_FRAME: Final = 2**24 - 1

# Plain numbers, not an enum: they are compared for every frame.
DATA: Final = 0x0
HEADERS: Final = 0x1
PRIORITY: Final = 0x2
RST_STREAM: Final = 0x3
SETTINGS: Final = 0x4
PUSH_PROMISE: Final = 0x5
PING: Final = 0x6
GOAWAY: Final = 0x7
WINDOW_UPDATE: Final = 0x8
CONTINUATION: Final = 0x9

ACK: Final = 0x1
END_STREAM: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
WITH_PRIORITY: Final = 0x20

ENABLE_PUSH: Final = 0x2
MAX_CONCURRENT_STREAMS: Final = 0x3
INITIAL_WINDOW_SIZE: Final = 0x4
MAX_FRAME_SIZE: Final = 0x5
MAX_HEADER_LIST_SIZE: Final = 0x6


class ErrorCode(IntEnum):
    """Why a stream or connection ends (section 7)."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


class ConnectionFault(Exception):
    """The peer broke the protocol in a way that ends the connection."""

    def __init__(self, code: ErrorCode, problem: str) -> None:
        super().__init__(problem)
        self.code = code


Frame = tuple[int, int, int, bytes]
"""Type, flags, stream and payload."""

_HEAD = Struct(">HBBBL")
_SETTING = Struct(">HL")
_NUMBER = Struct(">L")
_GOAWAY = Struct(">LL")


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Returns a frame as it goes over the wire."""
    size = len(payload)
    return _HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream) + payload


def header_frames(stream: int, block: bytes, max_frame: int) -> bytes:
    """Returns a header block in one HEADERS frame and as many CONTINUATIONs as it needs."""
    if len(block) <= max_frame:
        return frame(HEADERS, END_HEADERS, stream, block)
    pieces = [block[at : at + max_frame] for at in range(0, len(block), max_frame)]
    written = [frame(HEADERS, 0, stream, pieces[0])]
    written += [frame(CONTINUATION, 0, stream, piece) for piece in pieces[1:-1]]
    return b"".join([*written, frame(CONTINUATION, END_HEADERS, stream, pieces[-1])])


def settings(values: Mapping[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(name, value) for name, value in values.items()))


def window_update(stream: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, _NUMBER.pack(increment))


def rst_stream(stream: int, code: ErrorCode) -> bytes:
    return frame(RST_STREAM, 0, stream, _NUMBER.pack(code))


def goaway(last_stream: int, code: ErrorCode, debug: bytes = b"") -> bytes:
    return frame(GOAWAY, 0, 0, _GOAWAY.pack(last_stream, code) + debug)


def split(received: bytes, max_frame: int) -> tuple[list[Frame], bytes]:
    """Returns the whole frames at the start of what was received, and the bytes of the next that are there already.

    Raises:
        ConnectionFault: a frame is larger than `max_frame`.
    """
    found = []
    at, end = 0, len(received)
    while end - at >= 9:
        high, low, kind, flags, stream = _HEAD.unpack_from(received, at)
        size = high << 8 | low
        if size > max_frame:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {size} bytes, over {max_frame}")
        after = at + 9 + size
        if after > end:
            break
        found.append((kind, flags, stream & 0x7FFFFFFF, received[at + 9 : after]))
        at = after
    return found, received[at:] if at else received


def unpadded(flags: int, payload: bytes) -> bytes:
    """Returns the payload of a DATA or HEADERS frame without padding and priority.

    Raises:
        ConnectionFault: there is more padding than frame.
    """
    start, end = 0, len(payload)
    if flags & PADDED:
        if not payload:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a padded frame is empty")
        start, end = 1, end - payload[0]
    if flags & WITH_PRIORITY:
        start += 5
    if start > end:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a frame has more padding than bytes")
    return payload[start:end]


def settings_in(payload: bytes) -> Iterator[tuple[int, int]]:
    """Yields the settings of a SETTINGS frame.

    Raises:
        ConnectionFault: a value is none the setting may have.
    """
    if len(payload) % 6:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS of broken length")
    for name, value in _SETTING.iter_unpack(payload):
        if name == INITIAL_WINDOW_SIZE and value > LARGEST_WINDOW:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE over 2^31-1")
        if name == MAX_FRAME_SIZE and not SMALLEST_MAX_FRAME <= value <= LARGEST_MAX_FRAME:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"MAX_FRAME_SIZE of {value}")
        yield name, value


def number_in(kind: str, payload: bytes) -> int:
    """Returns the one number of a RST_STREAM or WINDOW_UPDATE frame."""
    if len(payload) != 4:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"{kind} of {len(payload)} bytes")
    return int(_NUMBER.unpack(payload)[0])


def goaway_in(payload: bytes) -> tuple[int, int, bytes]:
    """Returns the last stream, the error code and the debug data of a GOAWAY frame."""
    if len(payload) < 8:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"GOAWAY of {len(payload)} bytes")
    last_stream, code = _GOAWAY.unpack_from(payload)
    return last_stream & 0x7FFFFFFF, code, payload[8:]
