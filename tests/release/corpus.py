"""The corpus of a release: an envelope of every event and a request of every rpc, as bytes stored then."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

from astra.event.v1.envelope_pb2 import Envelope

from services import contracts
from services.runtime.context import Context
from services.runtime.transaction import Recorder
from tests.release.samples import MOMENT_SECONDS, sample

EVENT_ID = "01970000-0000-7000-8000-000000000001"
ENVELOPES, REQUESTS = "envelopes.jsonl", "requests.jsonl"


def write(folder: Path) -> tuple[int, int]:
    """Writes the corpus of today's contracts; returns how many envelopes and requests it has."""
    envelopes = [{"stream": stream, "envelope": _text(_envelope(stream))} for stream in sorted(contracts.events())]
    requests = [
        {"rpc": path, "request": _text(sample(rpc.request).SerializeToString(deterministic=True))}
        for path, rpc in sorted(contracts.rpcs().items())
    ]
    for name, rows in ((ENVELOPES, envelopes), (REQUESTS, requests)):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return len(envelopes), len(requests)


def envelopes(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yields streams and stored envelopes."""
    yield from _rows(folder / ENVELOPES, "stream", "envelope")


def requests(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yields rpcs and stored requests."""
    yield from _rows(folder / REQUESTS, "rpc", "request")


def _rows(path: Path, key: str, value: str) -> Iterator[tuple[str, bytes]]:
    for line in path.read_text().splitlines():
        row = json.loads(line)
        yield row[key], base64.b64decode(row[value])


def _envelope(stream: str) -> bytes:
    kind = contracts.events()[stream]
    recorder = Recorder(domain=kind.domain, producer=f"{kind.domain}@released:1", clock=lambda: 0, ids=lambda: EVENT_ID)
    context = Context(correlation_id="released-chain", traceparent=f"00-{'1' * 32}-{'2' * 16}-01")
    made: Envelope = recorder.envelope(
        sample(kind.message), context=context, causation_id="released-cause", ms=MOMENT_SECONDS * 1000
    )
    return made.SerializeToString(deterministic=True)


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
