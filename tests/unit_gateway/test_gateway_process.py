"""The process itself: workers that share a port, descriptors read anew on SIGHUP, and the start without options."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from services.mesh import ROOT, Mesh
from tests.unit_gateway.backend import served
from tests.unit_gateway.schema import with_rules

FIRST = with_rules(("Named", "GET", {"path": "/first"}))
SECOND = with_rules(("Named", "GET", {"path": "/second"}))


class Process:
    """A gateway that runs, and what it logs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def logged(self, event: str) -> dict[str, Any]:
        """Returns the next log entry of a kind."""
        assert self.process.stdout is not None
        while True:
            line = await asyncio.wait_for(self.process.stdout.readline(), 60)
            assert line, f"the gateway ended without {event}"
            entry: dict[str, Any] = json.loads(line)
            if entry["event"] == event:
                return entry


async def _start(*arguments: str, **environment: str) -> Process:
    return Process(
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", *arguments),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, **environment},
        )
    )


@asynccontextmanager
async def started(*arguments: str, **environment: str) -> AsyncIterator[Process]:
    gateway = await _start(*arguments, **environment)
    process = gateway.process
    try:
        yield gateway
        process.terminate()
        assert process.stdout is not None
        await asyncio.wait_for(process.stdout.read(), 30)
        assert await asyncio.wait_for(process.wait(), 30) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _first_child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


async def _status(url: str) -> int:
    # A connection of its own for each request: they reach different workers.
    async with aiohttp.ClientSession() as client, client.get(url) as response:
        await response.read()
        return response.status


async def test_workers_share_a_port_and_read_the_descriptors_anew(tmp_path: Path) -> None:
    described = tmp_path / "set.binpb"
    described.write_bytes(FIRST)
    both = with_rules(("Named", "GET", {"path": "/first"}), ("Named", "GET", {"path": "/second"}))
    async with served(both) as backend:
        arguments = ["--descriptors", str(described), "--upstream", backend.backend.address, "--port", "0"]
        async with started(*arguments, "--host", "127.0.0.1", "--workers", "2") as gateway:
            serving = [await gateway.logged("serving") for _ in range(2)]
            ports = {entry["addresses"][0][1] for entry in serving}
            assert len(ports) == 1
            url = f"http://127.0.0.1:{ports.pop()}"
            assert {await _status(f"{url}/first?name=a") for _ in range(10)} == {200}
            described.write_bytes(b"no descriptor set")
            gateway.process.send_signal(signal.SIGHUP)
            for _ in range(2):
                assert (await gateway.logged("not_reloaded"))["problem"]
            assert {await _status(f"{url}/first?name=a") for _ in range(10)} == {200}
            described.write_bytes(SECOND)
            gateway.process.send_signal(signal.SIGHUP)
            for _ in range(2):
                await gateway.logged("reloaded")
            assert {await _status(f"{url}/first") for _ in range(10)} == {404}


async def test_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    described = tmp_path / "set.binpb"
    described.write_bytes(FIRST)
    async with served(FIRST) as backend:
        arguments = ["--descriptors", str(described), "--upstream", backend.backend.address, "--port", "0"]
        async with started(*arguments, "--host", "127.0.0.1", "--workers", "2") as gateway:
            serving = [await gateway.logged("serving") for _ in range(2)]
            port = serving[0]["addresses"][0][1]
            await asyncio.sleep(1.1)  # one that dies sooner is taken for one that cannot start
            pid = _first_child(gateway.process.pid)
            os.kill(pid, signal.SIGKILL)
            assert (await gateway.logged("worker_died"))["pid"] == pid
            await gateway.logged("serving")
            assert {await _status(f"http://127.0.0.1:{port}/first") for _ in range(10)} == {200}


async def test_workers_drain_and_end_when_their_supervisor_is_killed(tmp_path: Path) -> None:
    described = tmp_path / "set.binpb"
    described.write_bytes(FIRST)
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slow(request: Any, context: Any) -> Any:
        asked.set()
        await go_on.wait()
        return request

    async with served(FIRST) as backend:
        backend.backend.answer = slow
        arguments = ["--descriptors", str(described), "--upstream", backend.backend.address, "--port", "0"]
        gateway = await _start(*arguments, "--host", "127.0.0.1", "--workers", "2")
        serving = [await gateway.logged("serving") for _ in range(2)]
        url = f"http://127.0.0.1:{serving[0]['addresses'][0][1]}/first"
        in_hand = asyncio.create_task(_status(url))
        await asyncio.wait_for(asked.wait(), 10)
        gateway.process.kill()
        for _ in range(2):
            await gateway.logged("draining")
        go_on.set()
        assert await in_hand == 200
        assert gateway.process.stdout is not None
        await asyncio.wait_for(gateway.process.stdout.read(), 30)  # ends with the last process that writes to it
        with pytest.raises(aiohttp.ClientConnectorError):
            await _status(url)


async def test_start_without_options_takes_the_mesh_from_the_map(tmp_path: Path) -> None:
    mesh = Mesh.at(tmp_path, free_ports=True)
    async with started(ASTRA_MESH=str(mesh.save())) as gateway:
        serving = await gateway.logged("serving")
        assert serving["upstream"] == mesh.addresses["envoy-internal"]
        assert serving["addresses"] == [[mesh.host("gateway"), mesh.port("gateway")]]
        url = f"http://{mesh.addresses['gateway']}"
        assert await _status(f"{url}/readyz") == 503
        assert await _status(f"{url}/openapi.json") == 200
        async with aiohttp.ClientSession() as client, client.get(f"{url}/health") as response:
            states = (await response.json())["services"]
            assert (response.status, states["astra.trading.v1.TradingService"]) == (503, "UNAVAILABLE")


@pytest.mark.parametrize("content", [b"no descriptor set", None])
async def test_descriptors_that_cannot_be_served_are_told_at_the_start(tmp_path: Path, content: bytes | None) -> None:
    described = tmp_path / "set.binpb"
    if content is not None:
        described.write_bytes(content)
    command = ["--descriptors", str(described), "--upstream", "127.0.0.1:1", "--port", "0", "--host", "127.0.0.1"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", *command, cwd=ROOT, stderr=asyncio.subprocess.PIPE
    )
    _, told = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 1
    assert str(described) in told.decode()
    assert b"Traceback" not in told
