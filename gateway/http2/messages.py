"""gRPC messages in a stream of bytes: five bytes of prefix, then the message, packed or not."""

import zlib
from struct import Struct
from typing import Final

from grpc import StatusCode

from gateway.http2.status import CallFailed

_PREFIX = Struct(">BL")
PREFIX_BYTES: Final = 5
_GZIP = zlib.MAX_WBITS | 16
ACCEPTED: Final = "gzip"
"""Value of `grpc-accept-encoding`."""


def prefixed(message: bytes) -> bytes:
    """Returns a message as it goes over the wire; never packed."""
    return _PREFIX.pack(0, len(message)) + message


class Messages:
    """Puts the messages of one call together from the pieces that arrive."""

    __slots__ = ("_begun", "_max_bytes")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._begun = bytearray()

    def take(self, piece: bytes, encoding: str | None) -> list[tuple[bytes, int]]:
        """Returns the messages a piece completes, each with the bytes it was on the wire.

        Raises:
            CallFailed: one is larger than allowed, or packed in a way that is not known.
        """
        # Mostly a piece is one message: then nothing is put together at all.
        data: bytes | bytearray = piece
        if self._begun:
            self._begun += piece
            data = self._begun
        found = []
        at, end = 0, len(data)
        while end - at >= PREFIX_BYTES:
            packed, size = _PREFIX.unpack_from(data, at)
            if size > self._max_bytes:
                raise _too_large(self._max_bytes)
            after = at + PREFIX_BYTES + size
            if after > end:
                break
            message = bytes(data[at + PREFIX_BYTES : after])
            found.append((_unpacked(message, encoding, self._max_bytes) if packed else message, after - at))
            at = after
        if data is self._begun:
            del self._begun[:at]
        elif at < end:
            self._begun += data[at:]
        return found

    @property
    def partial(self) -> bool:
        """Whether a message has begun and not ended."""
        return bool(self._begun)


def _unpacked(message: bytes, encoding: str | None, max_bytes: int) -> bytes:
    if encoding != "gzip":
        problem = f"the server packs messages as {(encoding or 'nothing')[:40]!r}; only gzip is understood"
        raise CallFailed(StatusCode.UNIMPLEMENTED if encoding else StatusCode.INTERNAL, problem)
    unpacking = zlib.decompressobj(_GZIP)
    try:
        plain = unpacking.decompress(message, max_bytes + 1)
    except zlib.error as error:
        raise CallFailed(StatusCode.INTERNAL, f"the server's gzip is broken: {error}") from None
    if len(plain) > max_bytes:
        raise _too_large(max_bytes)
    if not unpacking.eof or unpacking.unused_data:
        raise CallFailed(StatusCode.INTERNAL, "the server's gzip is cut off, or more follows it")
    return plain


def _too_large(max_bytes: int) -> CallFailed:
    return CallFailed(StatusCode.RESOURCE_EXHAUSTED, f"the server sends a message of more than {max_bytes} bytes")
