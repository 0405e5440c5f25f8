"""Where each process tells of itself: a file each, in the form of Prometheus' file_sd, beside `mesh.json`."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from services.mesh import Mesh


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One process."""

    process: str
    """Its name, such as `trading-react` or `gateway-2`."""
    service: str
    """What it is a part of: a domain, or `bridge`, `gateway`, `envoy`, `discovery`, `ratelimit`."""
    address: str
    """`host:port` of its HTTP face."""

    def announce(self, mesh: Mesh) -> Path:
        """Writes the file at once and as a whole. Raises `OSError`."""
        labels = {"process": self.process, "service": self.service}
        path = mesh.targets_dir / f"{self.process}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        # Prometheus reads `*.json`, so not what is half written.
        half = path.with_suffix(f".{os.getpid()}.half")
        half.write_text(json.dumps([{"targets": [self.address], "labels": labels}]) + "\n")
        half.replace(path)
        return path


def read_targets(mesh: Mesh) -> list[Target]:
    """Returns every process that is announced, by name. One that was killed still is: it should be there."""
    found = []
    for path in sorted(mesh.targets_dir.glob("*.json"), key=lambda file: file.stem):
        (entry,) = json.loads(path.read_text())
        found.append(Target(address=entry["targets"][0], **entry["labels"]))
    return found
