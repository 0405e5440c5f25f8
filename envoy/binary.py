"""The real Envoy: where its binary is, how it is started, and its own opinion of a rendering."""

import json
import os
import subprocess
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import yaml

from envoy.notation import Node, to_yaml
from envoy.render import Rendering
from services.mesh import ROOT, Mesh

VALIDATE_TIMEOUT_SECONDS = 30


def find_binary(environment: Mapping[str, str] = os.environ, tools: Path = ROOT / ".tools") -> Path:
    """Returns Envoy's binary: `$ENVOY_BIN`, else the one of the tools environment. SystemExit if there is none."""
    if named := environment.get("ENVOY_BIN"):
        if Path(named).is_file():
            return Path(named)
        raise SystemExit(f"ENVOY_BIN={named}: no such file; unset it to use the one that `make setup` installs")
    found = sorted(tools.glob("lib/python*/site-packages/envoy/_bin/envoy"))
    if not found:
        raise SystemExit(f"no Envoy in {tools}: run `make setup`, or set ENVOY_BIN to a binary")
    return found[-1]


def command(binary: Path, bootstrap: Path, *, log_path: Path | None = None) -> list[str]:
    """Returns the command line of a serving Envoy; it logs to stderr unless a path is given."""
    line = [str(binary), "--config-path", str(bootstrap), "--concurrency", "1"]
    line += ["--file-flush-interval-msec", "100", "--log-level", "warn"]
    return [*line, "--log-path", str(log_path)] if log_path else line


def environment_of_envoy(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Returns the environment without what concerns only Python."""
    return {name: value for name, value in environment.items() if name != "PYTHONPATH"}


def epoch_of(mesh: Mesh, *, or_else: int | None = None) -> int:
    """Returns how many Envoys ran before the one that takes calls now. OSError, or `or_else`, if none answers."""
    try:
        with urllib.request.urlopen(f"http://{mesh.addresses['envoy-admin']}/server_info", timeout=1) as answer:
            info = json.load(answer)
    except (OSError, ValueError):
        if or_else is None:
            raise
        return or_else
    if info["state"] != "LIVE" and or_else is not None:
        return or_else
    return int(info["command_line_options"]["restart_epoch"])


def validate(rendering: Rendering, binary: Path) -> str | None:
    """Returns what Envoy finds wrong with a written rendering, or None."""
    path = rendering.bootstrap.with_name("validated.yaml")
    path.write_text(to_yaml(inlined(rendering)))
    line = [str(binary), "--mode", "validate", "--config-path", str(path), "--log-level", "warn"]
    try:
        done = subprocess.run(  # noqa: S603
            line,
            env=environment_of_envoy(),
            capture_output=True,
            text=True,
            timeout=VALIDATE_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {VALIDATE_TIMEOUT_SECONDS} s"
    return None if done.returncode == 0 else (done.stdout + done.stderr).strip()


def inlined(rendering: Rendering) -> Node:
    """Returns the bootstrap with the endpoint files in it: validation reads no file that the bootstrap only names."""
    tree: Node = yaml.safe_load(rendering.files[rendering.bootstrap])
    for cluster in tree["static_resources"]["clusters"]:
        if source := cluster.pop("eds_cluster_config", None):
            path = Path(source["eds_config"]["path_config_source"]["path"])
            (assignment,) = yaml.safe_load(rendering.files[path])["resources"]
            del assignment["@type"]
            cluster.update(type="STATIC", load_assignment=assignment)
    return tree
