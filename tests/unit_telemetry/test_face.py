"""The HTTP face of a process: numbers, health, and where it is announced."""

import asyncio
import json
import socket
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from services.mesh import HOST, METRICS_ADDRESS, Mesh
from services.telemetry.face import shown
from services.telemetry.health import Health
from services.telemetry.targets import Target, read_targets


@pytest.fixture
def mesh(tmp_path: Path) -> Mesh:
    return Mesh.at(tmp_path, free_ports=True)


async def well() -> str:
    return ""


async def asked(target: Target | None, path: str) -> tuple[int, str]:
    assert target is not None

    def ask() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://{target.address}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    return await asyncio.to_thread(ask)


async def test_a_process_shows_its_numbers_where_the_map_says(mesh: Mesh) -> None:
    with shown(mesh, "nft", "nft", {}) as target:
        assert target is not None
        assert target.address == mesh.addresses["nft-metrics"]
        status, text = await asked(target, "/metrics")
    assert status == 200
    assert "process_resident_memory_bytes" in text


async def test_what_is_wrong_is_told_by_name(mesh: Mesh) -> None:
    async def full() -> str:
        return "the disk is full"

    async def broken() -> str:
        raise OSError("no route")

    with shown(mesh, "nft", "nft", {"store": full, "redis": broken, "rest": well}) as target:
        assert await asked(target, "/healthz") == (200, '{"status": "ready", "wrong": {}}\n')
        status, text = await asked(target, "/readyz")
    assert status == 503
    assert json.loads(text)["wrong"] == {"store": "the disk is full", "redis": "OSError: no route"}


async def test_a_check_that_hangs_is_not_waited_for() -> None:
    async def hangs() -> str:
        await asyncio.Event().wait()
        return ""

    health = Health({"slow": hangs, "rest": well}, answer_seconds=0.05)
    assert await asyncio.to_thread(health.ready) == {"slow": "no answer in time"}


async def test_a_stuck_event_loop_is_told_by_the_thread_beside_it() -> None:
    health = Health({}, answer_seconds=0.05)
    answers: list[object] = []
    asking = threading.Thread(target=lambda: answers.append(health.alive()))
    asking.start()
    asking.join()  # on this thread: nothing else can run on the loop now
    assert answers == [{"loop": "no answer in time"}]
    assert await asyncio.to_thread(health.alive) == {}


async def test_nothing_else_is_served(mesh: Mesh) -> None:
    with shown(mesh, "nft", "nft", {}) as target:
        assert (await asked(target, "/"))[0] == 404


async def test_a_process_is_announced_until_it_stops_in_order(mesh: Mesh) -> None:
    with shown(mesh, "nft", "nft", {}), shown(mesh, "nft-react", "nft", {}, apart=True) as apart:
        assert [(one.process, one.service) for one in read_targets(mesh)] == [("nft", "nft"), ("nft-react", "nft")]
        assert apart is not None
        assert read_targets(mesh)[1] == apart
        (entry,) = json.loads((mesh.targets_dir / "nft.json").read_text())
        assert entry == {"targets": [mesh.addresses["nft-metrics"]], "labels": {"process": "nft", "service": "nft"}}
    assert read_targets(mesh) == []


async def test_a_port_that_is_taken_stops_no_process(mesh: Mesh) -> None:
    with socket.create_server((HOST, mesh.port("nft-metrics"))), shown(mesh, "nft", "nft", {}) as target:
        assert (await asked(target, "/healthz"))[0] == 200
        assert target is not None
        assert target.address != mesh.addresses["nft-metrics"]


async def test_a_folder_that_cannot_be_written_stops_no_process(mesh: Mesh) -> None:
    mesh.targets_dir.write_text("in the way")
    with shown(mesh, "nft", "nft", {}) as target:
        assert (await asked(target, "/healthz"))[0] == 200


async def test_the_environment_says_where_a_container_shows_itself(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(METRICS_ADDRESS, f"localhost:{mesh.port('nft-metrics')}")
    with shown(mesh, "nft-react", "nft", {}, apart=True) as target:
        assert target == Target(process="nft-react", service="nft", address=f"localhost:{mesh.port('nft-metrics')}")
        assert (await asked(target, "/healthz"))[0] == 200
