"""What was released, and what of it today's protos break."""

import json
import subprocess
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from services import contracts
from services.mesh import ROOT

RELEASED = ROOT / "protos" / "released"
"""One folder a release: `image.binpb`, and the corpus. Moved by `make release` alone."""
SECONDS = 60.0


def releases() -> list[Path]:
    """Returns the folders of all releases, the oldest first."""
    found = [path for path in RELEASED.glob("*") if (path / "image.binpb").exists()]
    return sorted(found, key=lambda path: [int(part) for part in path.name.split(".")])


def latest() -> Path | None:
    """Returns the last release; None before the first."""
    return next(reversed(releases()), None)


def breaking(root: Path, release: Path) -> list[str]:
    """Returns what the protos of a checkout break of a release, as `buf breaking` says it."""
    buf, image = str(ROOT / ".tools" / "bin" / "buf"), str(release / "image.binpb")
    command = [buf, "breaking", "protos", "--against", image]
    ended = subprocess.run(
        [*command, "--error-format", "json"], cwd=root, capture_output=True, text=True, timeout=SECONDS
    )
    if ended.returncode not in (0, 100):  # 100: it found something
        raise RuntimeError(ended.stderr)
    found = [json.loads(line) for line in ended.stdout.splitlines()]
    return [f"{one.get('path', '?')}: {one['message']}" for one in found]


def lost_streams(release: Path) -> list[str]:
    """Returns the streams of a release that the catalogue has no more, and that were not retired."""
    image = FileDescriptorSet.FromString((release / "image.binpb").read_bytes())
    known = set(contracts.events()) | contracts.retired_streams()
    return [
        f"{stream}: events of release {release.name} are there, so mark its message as an event, or as retired"
        for stream in sorted(contracts.streams_in(image))
        if stream not in known
    ]
