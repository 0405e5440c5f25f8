"""Every process of a mesh tells of itself, and Envoy no more than that."""

import urllib.error
import urllib.request

import pytest

from services.local import LocalMesh
from services.mesh import REPORTING
from services.telemetry.targets import Target, read_targets


def asked(target: Target, path: str, method: str = "GET") -> tuple[int, str]:
    request = urllib.request.Request(f"http://{target.address}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_every_process_is_announced_and_shows_its_numbers(running: LocalMesh) -> None:
    targets = {target.process: target for target in read_targets(running.mesh)}
    assert {*REPORTING, "trading-react"} <= targets.keys()
    for target in targets.values():
        assert asked(target, "/readyz")[0] == 200, target
        assert asked(target, "/healthz")[0] == 200, target
        status, text = asked(target, "/metrics")
        assert status == 200, target
        assert "# TYPE " in text, target


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/quitquitquit"),
        ("POST", "/metrics"),
        ("GET", "/stats"),
        ("GET", "/config_dump"),
        ("GET", "/certs"),
        ("GET", "/metrics/../config_dump"),
        ("GET", "/metrics%2f..%2fconfig_dump"),
        ("GET", "//config_dump"),
    ],
)
def test_envoy_shows_nothing_else_of_its_admin_face(running: LocalMesh, method: str, path: str) -> None:
    (envoy,) = [target for target in read_targets(running.mesh) if target.process == "envoy"]
    assert asked(envoy, path, method)[0] in (400, 404)
