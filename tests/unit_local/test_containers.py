"""What the containers share: the map with their names, secrets as files, the authorities' keys apart; and the pulse."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from envoy.discovery import _written
from envoy.endpoints import endpoints_path, write_endpoints
from envoy.render import render
from services.containers import app, container_mesh
from services.mesh import PORTS, SERVICES, Mesh
from services.runtime.certificates import CALLER, issue
from services.runtime.pulse import PULSE, beating
from services.runtime.registry import reachable


def prepared(folder: Path) -> Mesh:
    for command in ("folders", "prepare"):
        result = CliRunner().invoke(app, [command, "--state-dir", str(folder)])
        assert result.exit_code == 0, result.output
    return Mesh.load(folder / "configuration" / "mesh.json")


async def until(seen: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not seen():  # noqa: ASYNC110 - a file tells nobody
            await asyncio.sleep(0.01)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_map_of_containers_is_the_map_with_their_names(tmp_path: Path) -> None:
    mesh = prepared(tmp_path)
    assert mesh == container_mesh(tmp_path)
    assert mesh.addresses["trading"] == f"trading:{PORTS['trading']}"
    assert mesh.addresses["user-jwks"] == f"user:{PORTS['user-jwks']}"
    assert mesh.addresses["envoy-internal"] == f"envoy:{PORTS['envoy-internal']}"
    assert mesh.listens("trading") == f"0.0.0.0:{PORTS['trading']}"
    assert mesh.mtls


def test_preparing_again_changes_nothing(tmp_path: Path) -> None:
    prepared(tmp_path)
    before = contents(tmp_path)
    prepared(tmp_path)
    assert contents(tmp_path) == before


def test_every_secret_is_its_owner_s_alone_and_the_authorities_keys_are_apart(tmp_path: Path) -> None:
    mesh = prepared(tmp_path)
    secrets = [path for name in ("keys", "authorities", "redis-users") for path in (tmp_path / name).rglob("*")]
    assert all(path.stat().st_mode & 0o077 == 0 for path in secrets if path.is_file())
    signing = sorted(path.name for path in (tmp_path / "authorities").iterdir())
    assert signing == ["callers-ca.key", "members-ca.key", "services-ca.key"]
    assert all((mesh.tls_dir / name).is_symlink() for name in signing)
    before = (mesh.tls_dir / f"{CALLER}.pem").read_bytes()
    issue(mesh, [CALLER])  # where the volume is mounted, certificates can be renewed
    assert (mesh.tls_dir / f"{CALLER}.pem").read_bytes() != before


def test_services_are_found_by_the_registry_and_what_it_found_outlives_a_new_preparation(tmp_path: Path) -> None:
    mesh = prepared(tmp_path)
    render(mesh, "{}").write()
    for service in SERVICES:
        assert _written(endpoints_path(mesh, service.name)) == []
    assert not endpoints_path(mesh, "bridge").exists(), "it does not register: DNS finds it"
    write_endpoints(mesh, "trading", ["10.1.2.3:10011"])
    render(mesh, "{}").write()
    assert _written(endpoints_path(mesh, "trading")) == ["10.1.2.3:10011"]


def test_a_server_of_every_address_is_reached_at_its_own() -> None:
    host, _, port = reachable("0.0.0.0:10011").rpartition(":")
    assert (host != "0.0.0.0", port) == (True, "10011")
    assert reachable("127.0.0.1:10011") == "127.0.0.1:10011"


async def test_the_pulse_beats_while_the_work_goes_on_and_not_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pulse = tmp_path / "pulse"
    monkeypatch.setenv(PULSE, str(pulse))
    async with beating():
        await until(pulse.exists)
        os.utime(pulse, (0, 0))
        await until(lambda: pulse.stat().st_mtime > 0)
    assert not pulse.exists()
