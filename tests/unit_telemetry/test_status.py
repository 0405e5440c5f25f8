"""`make status`, of processes that run in this test."""

import asyncio
import io
import json
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from services.local.status import GroupStatus, MeshStatus, Numbers, look, show
from services.mesh import Mesh
from services.telemetry.face import shown
from services.telemetry.targets import Target

TEXT = """\
astra_bus_group_lag_entries{group="a",stream="x"} 3
astra_bus_group_lag_entries{group="a",stream="y"} 4
astra_bus_group_lag_entries{group="b",stream="y"} 1
"""


async def asked(mesh: Mesh) -> MeshStatus:
    return await asyncio.to_thread(look, mesh, between_seconds=0.0)


async def test_a_process_that_was_announced_and_is_gone_is_away(tmp_path: Path) -> None:
    mesh = Mesh.at(tmp_path, free_ports=True)

    async def full() -> str:
        return "the disk is full"

    with shown(mesh, "nft", "nft", {"store": full}), shown(mesh, "user", "user", {}):
        Target(process="social", service="social", address=mesh.addresses["social-metrics"]).announce(mesh)
        status = await asked(mesh)
    assert [(one.process, one.state, dict(one.wrong)) for one in status.processes] == [
        ("nft", "not ready", {"store": "the disk is full"}),
        ("social", "away", {}),
        ("user", "ready", {}),
    ]
    assert not status.well
    assert json.loads(status.text())["well"] is False
    assert status.processes[2].memory_mb > 10


async def test_without_processes_nothing_is_well(tmp_path: Path) -> None:
    assert not (await asked(Mesh.at(tmp_path))).well


def test_numbers_are_added_up_over_streams() -> None:
    numbers = Numbers(text_string_to_metric_families(TEXT))
    assert numbers.values_of("astra_bus_group_lag_entries", "group") == ["a", "b"]
    assert numbers.total("astra_bus_group_lag_entries", group="a") == 7
    assert numbers.most("astra_bus_group_lag_entries", group="a") == 4
    assert numbers.most("nothing") == 0


def test_it_fits_on_one_screen() -> None:
    groups = [
        GroupStatus(group=f"group_{n}", waiting=n, in_hand=0, oldest_seconds=0.5, dead_letters=n) for n in range(17)
    ]
    console = Console(width=100, file=io.StringIO())
    show(console, MeshStatus(processes=[], groups=groups, bus={"appended": 5}))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) < 24
    assert any("group_3" in line for line in lines)
