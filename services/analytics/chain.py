"""The hash chain of the audit trail: what an entry's hash covers, and where a chain breaks.

The hash of entry n is SHA-256(hash of entry n−1 ‖ canonical bytes of entry n); before the first stand 32 zero bytes.
The canonical bytes are the fields in the order of FIELDS, each as UTF-8 text (the data's hash as it is) after its
length in bytes, 4 bytes big-endian: nothing can move from one field to the next unseen.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

GENESIS = bytes(32)
FIELDS = (
    "number",
    "event_id",
    "type",
    "stream",
    "stream_id",
    "user_id",
    "subject",
    "correlation_id",
    "causation_id",
    "ms",
    "data_hash",
)
"""What an entry's hash covers. `data_hash` is SHA-256 of the event itself, `Envelope.data`."""


@dataclass(frozen=True, slots=True)
class Link:
    """A number and a hash: how far a chain goes, or is known to be whole."""

    number: int
    hash: bytes


START = Link(0, GENESIS)


@dataclass(frozen=True, slots=True)
class Walk:
    """What checking a run of entries found."""

    end: Link
    """The last entry that follows from those before."""
    walked: int
    """Entries looked at, the broken one among them."""
    first_broken: int
    """Number of the first entry that is missing or does not follow; 0 if none."""


def next_hash(previous: bytes, fields: Iterable[object]) -> bytes:
    """Returns the hash of the entry with these fields after the entry with the hash `previous`."""
    digest = hashlib.sha256(previous)
    for field in fields:
        raw = field if isinstance(field, bytes) else str(field).encode()
        digest.update(len(raw).to_bytes(4, "big") + raw)
    return digest.digest()


def walk(after: Link, entries: Iterable[tuple[int, Sequence[object], bytes]]) -> Walk:
    """Checks that entries (number, fields, hash) follow from the link before them, without a gap."""
    end, walked = after, 0
    for number, fields, stored in entries:
        walked += 1
        expected = end.number + 1
        if number != expected or next_hash(end.hash, fields) != stored:
            return Walk(end, walked, expected)
        end = Link(number, stored)
    return Walk(end, walked, 0)
