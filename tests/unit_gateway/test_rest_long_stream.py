"""A gigabyte through a gateway of its own process: its memory stays flat, and nothing runs ahead of the client."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.bench.processes import rss_mb
from tests.unit_gateway.backend import served
from tests.unit_gateway.schema import with_rules
from tests.unit_gateway.test_gateway_process import started

RULES = with_rules(("Watched", "GET", {"path": "/watch"}), streaming="server")
MESSAGES = 2000
MESSAGE_BYTES = 500_000


@pytest.mark.long
async def test_gigabyte_leaves_the_memory_flat(tmp_path: Path) -> None:
    described = tmp_path / "set.binpb"
    described.write_bytes(RULES)
    sent = received = 0
    async with served(RULES) as backend:
        message = backend.type("Watched")(padding=b"x" * MESSAGE_BYTES).to_binary()

        async def stream(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
            nonlocal sent
            for _ in range(MESSAGES):
                sent += 1
                yield message

        backend.backend.stream = stream
        arguments = ["--descriptors", str(described), "--upstream", backend.backend.address, "--port", "0"]
        timeout = aiohttp.ClientTimeout(total=100)
        async with (
            started(*arguments, "--host", "127.0.0.1") as gateway,
            aiohttp.ClientSession(timeout=timeout) as client,
        ):
            serving = await gateway.logged("serving")
            port, pid = serving["addresses"][0][1], gateway.process.pid
            peaks = {}
            began = time.monotonic()
            lines = {"Accept": "application/x-ndjson"}
            async with client.get(f"http://127.0.0.1:{port}/watch", headers=lines) as response:
                async for chunk in response.content.iter_any():
                    received += chunk.count(b"\n")
                    tenth = received * 10 // MESSAGES
                    if tenth not in peaks:
                        peaks[tenth] = rss_mb(pid)
                        await asyncio.sleep(0.2)  # the client stops, and with it the backend has to
                        ahead = sent - received
                        assert ahead < 100, f"{ahead} messages are on their way to a client that does not read"
            print(
                f"{MESSAGES * MESSAGE_BYTES / 1e9} GB in {time.monotonic() - began:.1f} s, RSS in MB by tenth: {peaks}"
            )
    assert received == MESSAGES
    assert max(peaks.values()) - peaks[1] < 50
