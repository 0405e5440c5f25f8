"""Header compression (RFC 7541): a decoder with its dynamic table, and an encoder that needs none."""

from collections import deque
from functools import lru_cache
from typing import Final

from gateway.http2.frames import ConnectionFault, ErrorCode
from gateway.http2.huffman import BadHuffman, decoded

Headers = tuple[tuple[str, str], ...]

TABLE_BYTES: Final = 4096
"""The dynamic table's size unless SETTINGS say otherwise, which ours do not."""
_ENTRY_BYTES = 32
_KEPT_BLOCKS = 256

_STATIC: Final[tuple[tuple[str, str], ...]] = (
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"),
    (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"),
    (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""), ("accept", ""),
    ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""), ("cache-control", ""),
    ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""), ("date", ""), ("etag", ""),
    ("expect", ""), ("expires", ""), ("from", ""), ("host", ""), ("if-match", ""), ("if-modified-since", ""),
    ("if-none-match", ""), ("if-range", ""), ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""),
    ("location", ""), ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""),
    ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""), ("via", ""),
    ("www-authenticate", ""),
)  # fmt: skip
_SECRET = frozenset({"authorization", "cookie"})
"""Never to be put into a table, by nobody on the way (section 7.1.3)."""


def encoded(name: str, value: str) -> bytes:
    """Returns a header as a literal that enters no table: blocks can be put together from parts that are kept."""
    given = value.encode("latin-1")
    size = len(given)
    return _name(name) + (bytes((size,)) if size < 127 else integer(size, 7)) + given


@lru_cache(maxsize=256)
def _name(name: str) -> bytes:
    given = name.encode("ascii")
    return (b"\x10" if name in _SECRET else b"\x00") + integer(len(given), 7) + given


def integer(value: int, prefix_bits: int, first: int = 0) -> bytes:
    """Returns a number as section 5.1 writes it; `first` holds the bits before the prefix."""
    most = (1 << prefix_bits) - 1
    if value < most:
        return bytes((first | value,))
    written = bytearray((first | most,))
    value -= most
    while value >= 128:
        written.append(value & 127 | 128)
        value >>= 7
    written.append(value)
    return bytes(written)


class Decoder:
    """Reads the header blocks of one connection, in the order they came.

    Its faults are the connection's: after one the two tables no longer agree.
    """

    def __init__(self, max_list_bytes: int) -> None:
        self._max_list_bytes = max_list_bytes
        self._entries: deque[tuple[str, str]] = deque()
        self._entries_bytes = 0
        self._limit_bytes = TABLE_BYTES
        self._kept: dict[bytes, Headers] = {}
        """Blocks read since the table last changed: a server's answers mostly differ in nothing."""

    def decode(self, block: bytes) -> Headers:
        """Returns the headers of a block.

        Raises:
            ConnectionFault: it is broken, or stands for more than `max_list_bytes`.
        """
        kept = self._kept.get(block)
        if kept is not None:
            return kept
        try:
            headers, changed = self._read(block)
        except (IndexError, BadHuffman, UnicodeDecodeError) as error:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, f"a broken header block: {error}") from None
        if changed or len(self._kept) >= _KEPT_BLOCKS:
            self._kept.clear()
        if not changed:
            self._kept[block] = headers
        return headers

    def _read(self, block: bytes) -> tuple[Headers, bool]:
        """Returns the headers, and whether the table changed."""
        headers: list[tuple[str, str]] = []
        changed = False
        at = total = 0
        while at < len(block):
            first = block[at]
            if first & 0x80:
                index, at = _integer_at(block, at, 7)
                header = self._entry(index)
            elif first & 0xE0 == 0x20:
                size, at = _integer_at(block, at, 5)
                if headers or size > TABLE_BYTES:
                    raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, "a table size where none may be, or too large")
                self._limit_bytes = size
                self._evict()
                changed = True
                continue
            else:
                index, at = _integer_at(block, at, 6 if first & 0x40 else 4)
                if index:
                    name = self._entry(index)[0]
                else:
                    name, at = _string_at(block, at)
                value, at = _string_at(block, at)
                header = (name, value)
                if first & 0x40:
                    self._add(header)
                    changed = True
            total += len(header[0]) + len(header[1]) + _ENTRY_BYTES
            if total > self._max_list_bytes:
                problem = f"headers of more than {self._max_list_bytes} bytes"
                raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, problem)
            headers.append(header)
        return tuple(headers), changed

    def _entry(self, index: int) -> tuple[str, str]:
        if index == 0:
            raise IndexError("index 0")
        return _STATIC[index - 1] if index <= len(_STATIC) else self._entries[index - len(_STATIC) - 1]

    def _add(self, header: tuple[str, str]) -> None:
        self._entries.appendleft(header)
        self._entries_bytes += len(header[0]) + len(header[1]) + _ENTRY_BYTES
        self._evict()

    def _evict(self) -> None:
        while self._entries_bytes > self._limit_bytes:
            name, value = self._entries.pop()
            self._entries_bytes -= len(name) + len(value) + _ENTRY_BYTES


def _integer_at(block: bytes, at: int, prefix_bits: int) -> tuple[int, int]:
    """Returns a number and where it ends."""
    most = (1 << prefix_bits) - 1
    value = block[at] & most
    at += 1
    if value < most:
        return value, at
    for shift in (0, 7, 14, 21):
        byte = block[at]
        at += 1
        value += (byte & 127) << shift
        if byte < 128:
            return value, at
    raise IndexError("a number without end")


def _string_at(block: bytes, at: int) -> tuple[str, int]:
    """Returns a string and where it ends. Bytes stand for characters one to one."""
    huffman = block[at] & 0x80
    size, at = _integer_at(block, at, 7)
    data = block[at : at + size]
    if len(data) != size:
        raise IndexError("a string without end")
    return (decoded(data) if huffman else data).decode("latin-1"), at + size
