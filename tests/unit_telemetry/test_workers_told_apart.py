"""Several workers behind one port: each tells of itself, and together they tell of every request."""

import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from services.local.status import Numbers
from services.mesh import ROOT, Mesh
from services.telemetry.targets import Target, read_targets

REQUESTS = 40
DEADLINE_SECONDS = 60.0

pytestmark = pytest.mark.long


def counted(target: Target) -> float:
    with urllib.request.urlopen(f"http://{target.address}/metrics", timeout=10) as answer:
        numbers = Numbers(text_string_to_metric_families(answer.read().decode()))
    return numbers.total("astra_gateway_requests_total", route="other", status="200")


def test_no_request_is_missed_and_none_is_counted_twice(tmp_path: Path) -> None:
    mesh = Mesh.at(tmp_path, free_ports=True)
    path = mesh.save()
    command = [sys.executable, "-m", "gateway", "--workers", "2", "--upstream", "127.0.0.1:1"]
    with subprocess.Popen(
        command, cwd=ROOT, env={"ASTRA_MESH": str(path), "PATH": "/usr/bin"}, stdout=subprocess.DEVNULL
    ) as gateway:
        try:
            deadline = time.monotonic() + DEADLINE_SECONDS
            while len(targets := read_targets(mesh)) < 2 and time.monotonic() < deadline:
                time.sleep(0.1)
            assert [target.process for target in targets] == ["gateway-1", "gateway-2"]
            for _ in range(REQUESTS):
                with urllib.request.urlopen(f"http://{mesh.addresses['gateway']}/healthz", timeout=10) as answer:
                    assert answer.status == 200
            counts = [counted(target) for target in targets]
        finally:
            gateway.terminate()
    assert sum(counts) == REQUESTS
    assert all(counts), "the kernel spreads connections over both"
    assert read_targets(mesh) == [], "who stops in order is not missed"
