"""A real Prometheus beside a mesh, with the alerts of `monitoring/` in a time that tests can wait for."""

import json
import re
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import yaml

from services.mesh import HOST, Mesh
from tests.unit_monitoring.queries import ALERTS

FASTER = 15
"""How much faster the alerts' times pass here."""
LEAST_SECONDS = 3
BEHIND_SECONDS = 6
"""Age at which a group is behind here; GroupBehind has 60."""
STEP_SECONDS = 2

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(?<=\[)(\d+)([smhd])(?=\])|(?<=offset )(\d+)([smhd])")

T = TypeVar("T")


class Prometheus:
    """Asks a running Prometheus."""

    def __init__(self, port: int) -> None:
        self._url = f"http://{HOST}:{port}/api/v1"
        self.began = time.time()

    def ask(self, path: str, **parameters: object) -> Any:
        with urllib.request.urlopen(f"{self._url}/{path}?{urllib.parse.urlencode(parameters)}", timeout=20) as answer:
            return json.load(answer)["data"]

    def series(self, query: str) -> list[list[float]]:
        """Returns the values of every series of a query, over all the time since the start."""
        found = self.ask("query_range", query=query, start=self.began, end=time.time(), step=STEP_SECONDS)["result"]
        return [[float(value) for _, value in one["values"]] for one in found]

    def up(self) -> set[str]:
        """Returns the processes that were scraped with success."""
        return {one["metric"]["process"] for one in self.ask("query", query="up == 1")["result"]}

    def firing(self) -> set[str]:
        return {one["labels"]["alertname"] for one in self.ask("alerts")["alerts"] if one["state"] == "firing"}


@contextmanager
def scraping(mesh: Mesh, folder: Path, port: int) -> Iterator[Prometheus]:
    """Runs a Prometheus that scrapes this mesh every second."""
    rules = folder / "rules"
    rules.mkdir(parents=True)
    for path in ALERTS.glob("*.yml"):
        (rules / path.name).write_text(yaml.safe_dump(faster(yaml.safe_load(path.read_text()))))
    configuration = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules / "*.yml")],
        "scrape_configs": [
            {
                "job_name": "astra",
                "file_sd_configs": [{"files": [str(mesh.targets_dir / "*.json")], "refresh_interval": "1s"}],
            }
        ],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    command = [
        "/usr/bin/prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={HOST}:{port}",
        "--log.level=warn",
    ]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        prometheus = Prometheus(port)
        until(lambda: _answers(prometheus, process, folder), "Prometheus is ready", 30)
        yield prometheus
    finally:
        process.terminate()
        process.wait(20)


def faster(rules: Any) -> Any:
    """Returns rules whose times are shorter; what they ask for stays the same."""
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule["expr"] = _DURATION.sub(_shorter, rule["expr"])
            if "for" in rule:
                rule["for"] = f"{max(1, _seconds(rule['for'][:-1], rule['for'][-1]) // FASTER)}s"
            if rule.get("alert") == "GroupBehind":
                assert rule["expr"].endswith("> 60")
                rule["expr"] = f"{rule['expr'][:-2]}{BEHIND_SECONDS}"
    return rules


def until(met: Callable[[], T], what: str, seconds: float) -> T:
    """Waits until something is true, and returns it."""
    deadline = time.monotonic() + seconds
    while not (found := met()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.3)
    return found


def _answers(prometheus: Prometheus, process: "subprocess.Popen[bytes]", folder: Path) -> bool:
    assert process.poll() is None, (folder / "prometheus.log").read_text()
    try:
        prometheus.ask("query", query="1")
    except urllib.error.HTTPError as error:
        error.close()
        return False
    except OSError:
        return False
    return True


def _shorter(found: re.Match[str]) -> str:
    count, unit = found.group(1, 2) if found[1] else found.group(3, 4)
    # An offset has to cover the five seconds between two looks of the bridge.
    least = LEAST_SECONDS if found[1] else 9
    return f"{max(least, _seconds(count, unit) // FASTER)}s"


def _seconds(count: str, unit: str) -> int:
    return int(count) * _UNITS[unit]
