"""Frames, header compression and messages: against the RFCs' own bytes, and cut at every place."""

import gzip
from itertools import pairwise

import pytest
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st

from gateway.http2 import CallFailed, Limits, frames, hpack, huffman
from gateway.http2.frames import ConnectionFault, ErrorCode
from gateway.http2.messages import Messages, prefixed
from gateway.http2.reading import Reader
from gateway.http2.status import failure_of, reset_failure

MiB = 1024 * 1024

# RFC 7541, C.4 (requests) and C.6 (answers, in a table of 256 bytes that evicts): one connection each.
REQUESTS = [
    ("828684418cf1e3c2e5f23a6ba0ab90f4ff", [(":authority", "www.example.com")]),
    ("828684be5886a8eb10649cbf", [(":authority", "www.example.com"), ("cache-control", "no-cache")]),
]
ANSWERS = [
    ("488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
     ("302", "private", "Mon, 21 Oct 2013 20:13:21 GMT", "https://www.example.com")),
    ("4883640effc1c0bf", ("307", "private", "Mon, 21 Oct 2013 20:13:21 GMT", "https://www.example.com")),
]  # fmt: skip


def test_blocks_of_the_rfc_are_read_with_their_table() -> None:
    decoder = hpack.Decoder(65_536)
    for block, last in REQUESTS:
        read = decoder.decode(bytes.fromhex(block))
        assert read[:3] == ((":method", "GET"), (":scheme", "http"), (":path", "/"))
        assert list(read[3:]) == last
    decoder = hpack.Decoder(65_536)
    decoder.decode(bytes.fromhex("3fe101"))  # a table of 256 bytes
    for block, (status, control, date, location) in ANSWERS:
        expected = {":status": status, "cache-control": control, "date": date, "location": location}
        assert dict(decoder.decode(bytes.fromhex(block))) == expected


def test_block_read_before_is_read_anew_once_the_table_has_changed() -> None:
    decoder = hpack.Decoder(65_536)
    decoder.decode(b"\x40\x01a\x011")
    assert decoder.decode(b"\xbe") == (("a", "1"),) == decoder.decode(b"\xbe")
    decoder.decode(b"\x40\x01b\x012")
    assert decoder.decode(b"\xbe") == (("b", "2"),)


@pytest.mark.parametrize(
    ("block", "code"),
    [
        ("80", ErrorCode.COMPRESSION_ERROR),  # index 0
        ("be", ErrorCode.COMPRESSION_ERROR),  # beyond the table
        ("ffffffffff7f", ErrorCode.COMPRESSION_ERROR),  # a number without end
        ("4005", ErrorCode.COMPRESSION_ERROR),  # a string without end
        ("00", ErrorCode.COMPRESSION_ERROR),
        ("82203f", ErrorCode.COMPRESSION_ERROR),  # a table size after a header
        ("3fffff3f", ErrorCode.COMPRESSION_ERROR),  # a table larger than allowed
        ("0001618100", ErrorCode.COMPRESSION_ERROR),  # Huffman padding of zeros
        ("00016184ffffffff", ErrorCode.COMPRESSION_ERROR),  # the end-of-string mark
        ("4001610a" + "61" * 10 + "be" * 2000, ErrorCode.ENHANCE_YOUR_CALM),  # a bomb: a byte for each header
    ],
)
def test_broken_block_ends_the_connection(block: str, code: ErrorCode) -> None:
    with pytest.raises(ConnectionFault) as fault:
        hpack.Decoder(65_536).decode(bytes.fromhex(block))
    assert fault.value.code is code


@given(st.lists(st.tuples(st.text("abc-z", min_size=1), st.text("".join(map(chr, range(32, 256)))))))
def test_what_is_encoded_is_read_back(headers: list[tuple[str, str]]) -> None:
    block = b"".join(hpack.encoded(name, value) for name, value in headers)
    assert hpack.Decoder(2**30).decode(block) == tuple(headers)


@pytest.mark.parametrize(
    ("value", "bits", "written"), [(10, 5, "0a"), (1337, 5, "1f9a0a"), (42, 8, "2a"), (127, 7, "7f00")]
)
def test_numbers_are_those_of_the_rfc(value: int, bits: int, written: str) -> None:
    assert hpack.integer(value, bits).hex() == written


def test_huffman_code_is_complete() -> None:
    """Kraft's sum of a complete prefix code is one: a length that were wrong would change it."""
    assert sum(2.0**-length for length in huffman._LENGTHS) == 1
    assert huffman.decoded(bytes.fromhex("9d29ad171863c78f0b97c8e9ae82ae43d3")) == b"https://www.example.com"


FRAMES = (
    frames.settings({frames.MAX_FRAME_SIZE: 16_384})
    + frames.frame(frames.HEADERS, 0, 1, b"\x88")
    + frames.frame(frames.CONTINUATION, frames.END_HEADERS, 1, b"\x40\x01a\x01b")
    + frames.frame(frames.DATA, frames.PADDED, 1, b"\x02hello\0\0")
    + frames.frame(0xFA, 0, 0, b"unknown")
    + frames.frame(frames.HEADERS, frames.END_HEADERS | frames.WITH_PRIORITY, 1, b"\0\0\0\0\x10\xbe")
)


@given(st.sets(st.integers(0, len(FRAMES))))
def test_frames_are_the_same_wherever_the_bytes_are_cut(cuts: set[int]) -> None:
    reader = Reader(Limits())
    read = [
        found for start, end in pairwise([0, *sorted(cuts), len(FRAMES)]) for found in reader.feed(FRAMES[start:end])
    ]
    assert [(kind, stream) for kind, _, stream, _, _ in read] == [(4, 0), (1, 1), (0, 1), (0xFA, 0), (1, 1)]
    assert [headers for *_, headers in read if headers] == [((":status", "200"), ("a", "b")), (("a", "b"),)]


@pytest.mark.parametrize(
    ("received", "code"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", ErrorCode.FRAME_SIZE_ERROR),
        (frames.frame(frames.CONTINUATION, frames.END_HEADERS, 1), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.HEADERS, 0, 1) + frames.frame(frames.DATA, 0, 1), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.HEADERS, 0, 1) + frames.frame(frames.CONTINUATION, 0, 3), ErrorCode.PROTOCOL_ERROR),
        (
            frames.frame(frames.HEADERS, 0, 1) + frames.frame(frames.CONTINUATION, 0, 1) * 100,
            ErrorCode.ENHANCE_YOUR_CALM,
        ),
        (frames.frame(frames.HEADERS, frames.PADDED, 1, b"\x05abc"), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.HEADERS, frames.PADDED, 1), ErrorCode.FRAME_SIZE_ERROR),
    ],
)
def test_broken_frames_end_the_connection(received: bytes, code: ErrorCode) -> None:
    with pytest.raises(ConnectionFault) as fault:
        list(Reader(Limits()).feed(received))
    assert fault.value.code is code


def test_long_header_block_goes_on_in_continuations() -> None:
    block = hpack.encoded("a", "x" * 40_000)
    written = frames.header_frames(1, block, 16_384)
    assert [kind for kind, *_ in frames.split(written, 16_384)[0]] == [1, 9, 9]
    assert [headers for *_, headers in Reader(Limits()).feed(written)] == [(("a", "x" * 40_000),)]


MESSAGES = [b"", b"a", b"hello" * 100, b"\x00" * 7]


@given(st.sets(st.integers(0, 600)))
def test_messages_are_the_same_wherever_the_bytes_are_cut(cuts: set[int]) -> None:
    stream = b"".join(map(prefixed, MESSAGES))
    reader = Messages(MiB)
    edges = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    read = [found for start, end in pairwise(edges) for found in reader.take(stream[start:end], None)]
    assert [message for message, _ in read] == MESSAGES
    assert sum(size for _, size in read) == len(stream)
    assert not reader.partial


def _packed(packed: bytes) -> bytes:
    return b"\x01" + len(packed).to_bytes(4, "big") + packed


@pytest.mark.parametrize(
    ("wire", "encoding", "code"),
    [
        (_packed(gzip.compress(b"x" * (2 * MiB))), "gzip", StatusCode.RESOURCE_EXHAUSTED),  # small only while packed
        (_packed(b"no gzip"), "gzip", StatusCode.INTERNAL),
        (_packed(gzip.compress(b"cut off")[:-4]), "gzip", StatusCode.INTERNAL),
        (_packed(b"x"), "snappy", StatusCode.UNIMPLEMENTED),
        (_packed(b"x"), None, StatusCode.INTERNAL),
        (b"\x00\x7f\xff\xff\xff", None, StatusCode.RESOURCE_EXHAUSTED),
    ],
)
def test_message_that_cannot_be_taken_says_why(wire: bytes, encoding: str | None, code: StatusCode) -> None:
    with pytest.raises(CallFailed) as failed:
        Messages(MiB).take(wire, encoding)
    assert failed.value.code is code


def test_packed_message_is_unpacked() -> None:
    assert Messages(MiB).take(_packed(gzip.compress(b"hello")), "gzip")[0][0] == b"hello"


@pytest.mark.parametrize(
    ("headers", "trailers", "code", "message"),
    [
        ({}, {"grpc-status": "5", "grpc-message": "no%20such %e2%82%ac"}, StatusCode.NOT_FOUND, "no such €"),
        ({}, {"grpc-status": "5", "grpc-message": "100% %zz"}, StatusCode.NOT_FOUND, "100% %zz"),
        ({}, {"grpc-status": "99"}, StatusCode.UNKNOWN, ""),
        ({}, {"grpc-status": "x"}, StatusCode.UNKNOWN, ""),
        ({":status": "200"}, {}, StatusCode.UNKNOWN, None),
        ({":status": "404"}, {}, StatusCode.UNIMPLEMENTED, None),
        ({":status": "503"}, {}, StatusCode.UNAVAILABLE, None),
        ({}, {":status": "401"}, StatusCode.UNAUTHENTICATED, None),
    ],
)
def test_end_of_an_answer_has_a_code(
    headers: dict[str, str], trailers: dict[str, str], code: StatusCode, message: str | None
) -> None:
    failure = failure_of(headers, trailers)
    assert failure is not None
    assert failure.code is code
    assert message is None or failure.message == message


def test_binary_metadata_is_bytes_with_or_without_padding() -> None:
    failure = failure_of({}, {"grpc-status": "3", "a-bin": "AQI", "b-bin": "AQI=", "c-bin": "?", "d": "e"})
    assert failure is not None
    assert failure.metadata == {"grpc-status": "3", "a-bin": b"\1\2", "b-bin": b"\1\2", "d": "e"}


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (7, StatusCode.UNAVAILABLE),
        (8, StatusCode.CANCELLED),
        (11, StatusCode.RESOURCE_EXHAUSTED),
        (77, StatusCode.INTERNAL),
    ],
)
def test_reset_stream_has_a_code(code: int, status: StatusCode) -> None:
    assert reset_failure(code).code is status
