"""What callers notice of an Envoy that is replaced, stopped or refused a configuration: nothing."""

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import grpc
import pytest

from envoy import restarter
from envoy.binary import command, epoch_of, find_binary
from envoy.render import render
from services.mesh import ROOT, Mesh
from tests.unit_envoy.door import Echo, Issuer, admin_ready, call, children, until

QUOTE = "/astra.trading.v1.TradingService/GetQuote"
CALLS_PER_SECOND, CHANNELS = 200, 4
OK, UNAVAILABLE = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE


@dataclass
class House:
    """A mesh with one service behind an Envoy that can be replaced."""

    mesh: Mesh
    process: asyncio.subprocess.Process

    def channel(self) -> grpc.aio.Channel:
        # No policy of retries; but what is still in the client when a connection ends goes out on the next one.
        options = [("grpc.use_local_subchannel_pool", 1)]
        return grpc.aio.insecure_channel(self.mesh.addresses["envoy-public"], options=options)

    @property
    def envoys(self) -> list[str]:
        return children(self.process.pid)

    async def answers(self) -> bool:
        async with self.channel() as channel:
            return (await call(channel, QUOTE, timeout_seconds=1)).code is OK

    async def command(self, *arguments: str) -> tuple[int | None, str]:
        """Runs `python -m envoy` and returns its exit code and what it says."""
        environment = {**os.environ, "ASTRA_MESH": str(self.mesh.state_dir / "mesh.json")}
        running = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "envoy", *arguments), env=environment, cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        said, _ = await asyncio.wait_for(running.communicate(), 60)
        return running.returncode, said.decode()


def runs(pid: str) -> bool:
    """Tells whether a process is there, and is more than a zombie."""
    path = Path(f"/proc/{pid}/cmdline")
    return path.exists() and bool(path.read_bytes())


@pytest.fixture
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    mesh = Mesh.at(tmp_path_factory.mktemp("mesh"), free_ports=True)
    mesh.keys_dir.mkdir(parents=True)
    (mesh.keys_dir / "services.jwks.json").write_text(keys := json.dumps(Issuer("services").jwks()))
    environment = {**os.environ, "ASTRA_MESH": str(mesh.save())}
    rendering = render(mesh, keys)
    rendering.write()
    settings = restarter.Settings(
        command=command(find_binary(), rendering.bootstrap),
        refresh=[sys.executable, "-m", "envoy", "refresh"],
        admin=mesh.addresses["envoy-admin"],
        folder=str(rendering.bootstrap.parent),
        drain_seconds=1,
        handover_seconds=2,
        stop_seconds=6,
    )
    line = (sys.executable, "-I", restarter.__file__, json.dumps(asdict(settings)))
    trading = Echo("trading")
    await trading.start(mesh.port("trading"))
    process = await asyncio.create_subprocess_exec(*line, env=environment, cwd=ROOT)
    house = House(mesh, process)
    try:
        await until(lambda: admin_ready(mesh))
        await until(house.answers)
        yield house
    finally:
        if process.returncode is None:
            process.kill()
        await asyncio.wait_for(process.wait(), 10)
        await trading.stop()


@asynccontextmanager
async def steadily(house: House) -> AsyncIterator[Counter[str]]:
    """Calls at a steady rate for as long as the block lasts, over several connections; yields how the calls end."""
    endings: Counter[str] = Counter()
    stop = asyncio.Event()

    async def once(channel: grpc.aio.Channel, headers: dict[str, str]) -> None:
        answer = await call(channel, QUOTE, headers)
        endings[answer.code.name if answer.code is OK else f"{answer.code.name} {answer.details}"] += 1

    async with asyncio.TaskGroup() as calls:

        async def caller() -> None:
            async with house.channel() as channel, asyncio.TaskGroup() as mine:
                number = 0
                while not stop.is_set():
                    number += 1
                    # Some are under way when the Envoys change places.
                    mine.create_task(once(channel, {"test-sleep": "0.5"} if number % 20 == 0 else {}))
                    await asyncio.sleep(CHANNELS / CALLS_PER_SECOND)

        for _ in range(CHANNELS):
            calls.create_task(caller())
        try:
            yield endings
        finally:
            stop.set()


async def test_another_configuration_and_a_restarted_binary_fail_no_call(house: House) -> None:
    replace(house.mesh, cors_origins=("https://app.example.com",)).save()
    (first,) = house.envoys
    async with steadily(house) as endings:
        await asyncio.sleep(0.3)
        code, said = await house.command("restart")
        assert (code, "has taken over" in said) == (0, True), said
        assert epoch_of(house.mesh) == 1

        async def alone() -> bool:
            return len(house.envoys) == 1

        await until(alone)
        assert house.envoys != [first]
        await asyncio.sleep(0.3)
    assert set(endings) == {"OK"}
    assert endings["OK"] > 200
    assert "app.example.com" in (house.mesh.state_dir / "envoy" / "envoy.yaml").read_text()


@pytest.mark.long
async def test_without_a_handover_the_same_calls_fail(house: House) -> None:
    """The control: an Envoy that is killed does fail calls, so there were some to fail."""
    async with steadily(house) as endings:
        await asyncio.sleep(0.3)
        os.kill(int(house.envoys[0]), signal.SIGKILL)
        await asyncio.sleep(0.3)
    assert any(ending.startswith("UNAVAILABLE") for ending in endings)
    assert await asyncio.wait_for(house.process.wait(), 10) != 0, "it ends too, and whoever supervises it is told"


@pytest.mark.long
async def test_a_configuration_that_envoy_refuses_changes_nothing(house: House) -> None:
    (house.mesh.keys_dir / "services.jwks.json").write_text('{"keys": []}')
    before = (house.mesh.state_dir / "envoy" / "envoy.yaml").read_text()
    code, said = await house.command("restart")
    assert code == 1
    assert "Envoy refuses the configuration" in said
    assert (epoch_of(house.mesh), len(house.envoys)) == (0, 1)
    assert (house.mesh.state_dir / "envoy" / "envoy.yaml").read_text() == before


async def test_calls_under_way_end_well_when_envoy_is_stopped(house: House) -> None:
    async with house.channel() as channel:
        slow = asyncio.create_task(call(channel, QUOTE, {"test-sleep": "1.5"}))
        await asyncio.sleep(0.3)
        house.process.terminate()

        async def closed() -> bool:
            return not await house.answers()

        await until(closed)
        assert not slow.done()
        assert (await slow).code is OK
    assert await asyncio.wait_for(house.process.wait(), 10) == 0


@pytest.mark.long
async def test_envoy_does_not_outlive_the_process_that_runs_it(house: House) -> None:
    (envoy,) = house.envoys
    house.process.kill()

    async def gone() -> bool:
        return not runs(envoy)

    await until(gone)
