"""Looks for what nobody else may see in all that a mesh says: events, outboxes, databases, logs, metrics, errors."""

import asyncio
import re
import sqlite3
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp

from services import contracts
from services.mesh import SERVICES
from services.runtime.redis_client import connect
from tests.story.play import Stage

PATTERNS = {
    "an e-mail address": re.compile(rb"[\w.+-]+@[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,}"),
    "a token": re.compile(rb"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*"),
    "a card number": re.compile(rb"(?<![\d.])4[0-9]{15}(?![\d.])"),  # not the places of a measured number
}
"""What is secret whoever's it is."""
EXAMPLE = b"ann@example.org"
"""Shown to whoever states an address that is none."""
OWNER_OF_SECRETS = "user"
"""The service whose database holds e-mail addresses, hashes of passwords and the replies with them."""
METRICS_SECONDS = 10

Text = tuple[str, bytes]
"""Where something is said, and what."""


def leaks(texts: Iterable[Text], secrets: Iterable[str]) -> Iterator[str]:
    """Yields a sentence for each place that says a secret; the secret itself is not repeated."""
    known = re.compile(b"|".join(re.escape(secret.encode()) for secret in sorted(secrets)) or rb"(?!)")
    for where, text in texts:
        if known.search(text):
            yield f"{where} has a password, a token, an e-mail address or a card number that was used"
        for what, pattern in PATTERNS.items():
            if pattern.search(text.replace(EXAMPLE, b"")):
                yield f"{where} has {what}"


async def everything_said(stage: Stage) -> list[Text]:
    """Returns all that the mesh has said so far, with where."""
    state, texts = stage.running.mesh.state_dir, [text async for text in _streams(stage)]
    texts += [text for service in SERVICES for text in _rows(stage.running.mesh.database(service.name), service.name)]
    texts += await asyncio.to_thread(lambda: [text for path in _logs(state) for text in _lines(path)])
    texts += [text async for text in _metrics(stage)]
    return texts + [(f"the refusal of {call}", body.encode()) for call, body in stage.rest.refusals]


async def _streams(stage: Stage) -> AsyncIterator[Text]:
    """Yields every entry of every stream, and of the dead letters, as the bytes that are in Redis."""
    redis: Any = connect(stage.running.mesh, "reader")
    try:
        async for key in redis.scan_iter(match="astra.*", _type="stream"):
            for entry_id, fields in await redis.xrange(key):
                yield (
                    f"{key.decode()} {entry_id.decode()}",
                    b"\n".join(part for pair in fields.items() for part in pair),
                )
    finally:
        await redis.aclose()


def _rows(path: Path, service: str) -> Iterator[Text]:
    """Yields the outbox of a service, and all its other tables unless they are where secrets belong."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        for table in ["outbox"] if service == OWNER_OF_SECRETS else tables:
            for row in database.execute(f"SELECT * FROM {table}"):
                values = (value if isinstance(value, bytes) else str(value).encode() for value in row)
                yield f"{service}: a row of {table}", b"\n".join(values)


def _logs(state: Path) -> list[Path]:
    """Returns every file that processes write for people."""
    return [path for path in state.rglob("*") if path.is_file() and ("log" in path.parts or path.suffix == ".log")]


def _lines(path: Path) -> Iterator[Text]:
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        yield f"{path.name}:{number}", line


async def _metrics(stage: Stage) -> AsyncIterator[Text]:
    """Yields the metrics of Envoy, and of whatever else on the map has some."""
    mesh = stage.running.mesh
    timeout = aiohttp.ClientTimeout(total=METRICS_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        for name, path in (("envoy-admin", "/stats/prometheus"), ("envoy-admin", "/clusters"), ("gateway", "/metrics")):
            async with http.get(f"http://{mesh.addresses[name]}{path}") as answer:
                yield f"{name}{path}", await answer.read()
        for name, address in mesh.addresses.items():
            if "metrics" in name:
                async with http.get(f"http://{address}/metrics") as answer:
                    yield f"{name}/metrics", await answer.read()


def kinds_of(texts: Iterable[Text]) -> set[str]:
    """Returns which events are among the streams' entries, so that a walk over nothing is noticed."""
    streams = set(contracts.events())
    return {where.split()[0] for where, _ in texts} & streams
