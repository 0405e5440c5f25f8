"""Prometheus' own tool accepts the configuration and the alerts, and runs their cases."""

import shutil
import subprocess
from pathlib import Path

import pytest

from services.mesh import ROOT

MONITORING = ROOT / "monitoring"

pytestmark = pytest.mark.long


def promtool(*arguments: object, folder: Path = MONITORING) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/usr/bin/promtool", *map(str, arguments)], cwd=folder, capture_output=True, text=True, timeout=110
    )


def test_the_configuration_and_the_rules_are_sound() -> None:
    for ended in (
        promtool("check", "config", "prometheus.yml"),
        promtool("check", "rules", *sorted((MONITORING / "alerts").glob("*.yml"))),
    ):
        assert ended.returncode == 0, ended.stdout + ended.stderr


def test_each_alert_fires_when_it_should_and_is_silent_else() -> None:
    ended = promtool("test", "rules", "tests/alerts_test.yml", "tests/kpis_test.yml")
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("astra_bus_dead_letter_entries) > 0", "astra_bus_dead_letter_entries) > 1"),
        ("astra_bus_dead_letter_entries)", "astra_bus_dead_letters)"),
        ("offset 30s", "offset 30m"),
    ],
)
def test_a_rule_that_is_wrong_is_caught(tmp_path: Path, wrong: str, right: str) -> None:
    """The control."""
    shutil.copytree(MONITORING / "alerts", tmp_path / "alerts")
    shutil.copytree(MONITORING / "tests", tmp_path / "tests")
    rules = tmp_path / "alerts" / "bus.yml"
    assert wrong in rules.read_text()
    rules.write_text(rules.read_text().replace(wrong, right))
    assert promtool("test", "rules", "tests/alerts_test.yml", folder=tmp_path).returncode != 0
