"""What is told of a request when it ends, and the ids it has."""

import io
import json
import uuid
from typing import Any

import pytest

from gateway.access import AccessLog, Ended
from gateway.ids import Ids


async def test_access_log_is_json_whatever_a_client_sends() -> None:
    stream = io.StringIO()
    log = AccessLog(stream, clock=lambda: 1_770_000_000.25)
    log(Ended("GET", '/v1/"x"\\\u00e9\n', "/v1/{a}", 200, 0.0123456, "c-1"))
    assert stream.getvalue() == ""  # gathered, for a moment
    log.flush()
    entry: dict[str, Any] = json.loads(stream.getvalue())
    assert entry == {
        "method": "GET",
        "path": '/v1/"x"\\\u00e9\n',
        "route": "/v1/{a}",
        "status": 200,
        "ms": 12.35,
        "correlation_id": "c-1",
        "event": "request",
        "level": "info",
        "timestamp": "2026-02-02T02:40:00.250000Z",
    }


async def test_many_lines_do_not_wait() -> None:
    stream = io.StringIO()
    log = AccessLog(stream)
    for _ in range(256):
        log(Ended("GET", "/", "", 404, 0.0, "c-1"))
    assert len(stream.getvalue().splitlines()) == 256


@pytest.mark.parametrize("random", [b"\0", b"\xff"])
def test_ids_are_uuids_of_version_7(random: bytes) -> None:
    made = uuid.UUID(Ids(clock_ns=lambda: 1_700_000_000_123 * 1_000_000, random_bytes=lambda n: random * n)())
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == 1_700_000_000_123


def test_ids_differ() -> None:
    ids = Ids()
    assert len({ids() for _ in range(2000)}) == 2000
