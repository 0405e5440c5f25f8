"""What a peer sends, frame by frame, with its header blocks put together and decoded."""

from collections.abc import Iterator

from gateway.http2 import frames
from gateway.http2.frames import ConnectionFault, ErrorCode
from gateway.http2.hpack import Decoder, Headers
from gateway.http2.limits import Limits

Received = tuple[int, int, int, bytes, Headers]
"""Type, flags, stream, payload and, of HEADERS, the headers in its place."""

_MAX_PIECES = 64
"""Of one header block: a peer could send CONTINUATIONs without bytes for ever."""


class Reader:
    """Reads the frames of one connection."""

    def __init__(self, limits: Limits) -> None:
        self._max_frame_bytes = limits.max_frame_bytes
        self._max_header_bytes = limits.max_header_bytes
        self._decoder = Decoder(limits.max_header_bytes)
        self._rest = b""
        self._block: tuple[int, int, list[bytes]] | None = None
        """Flags, stream and pieces of a header block that goes on."""

    def feed(self, data: bytes) -> Iterator[Received]:
        """Yields what is complete with these bytes.

        Raises:
            ConnectionFault: they are no HTTP/2.
        """
        found, self._rest = frames.split(self._rest + data if self._rest else data, self._max_frame_bytes)
        for kind, flags, stream, payload in found:
            if kind == frames.HEADERS or self._block is not None:
                if (whole := self._headers(kind, flags, stream, payload)) is not None:
                    yield whole
            elif kind == frames.CONTINUATION:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a CONTINUATION of nothing")
            else:
                yield kind, flags, stream, payload, ()

    def _headers(self, kind: int, flags: int, stream: int, payload: bytes) -> Received | None:
        """Returns a header block that is whole; None for one that goes on."""
        if self._block is None:
            block = frames.unpadded(flags, payload)
            if not flags & frames.END_HEADERS:
                self._block = flags, stream, [block]
                return None
        else:
            flags_of_first, stream_of_first, pieces = self._block
            if kind != frames.CONTINUATION or stream != stream_of_first:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a header block is broken off")
            pieces.append(payload)
            if len(pieces) > _MAX_PIECES or sum(map(len, pieces)) > self._max_header_bytes:
                raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "a header block without end")
            if not flags & frames.END_HEADERS:
                return None
            self._block = None
            flags, block = flags_of_first, b"".join(pieces)
        # Always decoded, also for calls that are over, or the table would not be the server's.
        return frames.HEADERS, flags, stream, b"", self._decoder.decode(block)
