"""`python -m tests.containers [--offline]`: starts compose.yaml, tries the contracts on it, takes it away."""

import argparse
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from services.mesh import ROOT
from services.runtime.credentials import write_private
from tests.containers.commands import CommandFailed
from tests.containers.engine import NoEngine, engine
from tests.containers.offline_images import make_images
from tests.containers.project import Project
from tests.contract.deployment import ADMIN, FILE

FOLDER = ROOT / "build" / "containers"
TESTS_SECONDS = 900
CONTRACTS = [f"tests/contract/{name}.py" for name in ("test_mesh_rpcs", "test_mesh_events", "outages")]
BEGAN = time.monotonic()


def tell(what: str) -> None:
    """Prints a step and when it began."""
    print(f"{time.monotonic() - BEGAN:6.1f} s  {what}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Tries the contracts on the mesh of compose.yaml.")
    parser.add_argument("--offline", action="store_true", help="make the images here; no image registry is asked")
    parser.add_argument("tests", nargs="*", help="arguments for pytest; all contracts if absent")
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    try:
        with engine(FOLDER / "engine") as found:
            images = make_images(found, tell) if options.offline else {}
            return play(Project(found, images), options.tests)
    except (NoEngine, CommandFailed) as error:
        print(f"make contract: {error}", file=sys.stderr)
        return 1


def play(project: Project, tests: list[str]) -> int:
    """Runs the contracts on a project; returns pytest's exit code."""
    try:
        tell("building the image")
        project.build()
        tell("starting the containers")
        project.up()
        tell(f"{len(project.containers())} containers are healthy; Envoy {project.envoy}, gateway {project.gateway}")
        code = subprocess.run(
            [sys.executable, "-m", "pytest", *(tests or CONTRACTS)],
            cwd=ROOT,
            env={**project.environment, FILE: str(mesh_file(project))},
            timeout=TESTS_SECONDS,
            check=False,
        ).returncode
        tell(f"pytest ended with {code}")
    finally:
        (FOLDER / f"{project.name}.json").unlink(missing_ok=True)
        project.down()
        tell("the containers are gone")
    print_report()
    return code


def mesh_file(project: Project) -> Path:
    """Makes an admin and writes what the contracts are told of the mesh."""
    password = secrets.token_urlsafe(18)
    project.make_admin(ADMIN, password)
    told: Mapping[str, object] = {
        "gateway": project.gateway,
        "envoy": project.envoy,
        "admin": ADMIN,
        "password": password,
        "social_python": ["docker", "exec", project.containers()["social"], "python"],
        "database": "/var/lib/astra/db/social/social.db",
    }
    path = FOLDER / f"{project.name}.json"
    write_private(path, json.dumps(told).encode())
    return path


def print_report() -> None:
    """Prints how much of what held."""
    report = ROOT / "build" / "contract.json"
    for what, count in json.loads(report.read_text())["counts"].items():
        print(f"  {what:<10}{count:>4}")
    print(f"All of them by name: {os.path.relpath(report)}")


if __name__ == "__main__":
    sys.exit(main())
