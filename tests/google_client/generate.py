"""Generates a client of every package that has routes. Run by the Python of `.clients/`; takes a folder to write to."""

import os
import subprocess
import sys
from pathlib import Path

from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet

DESCRIPTORS = Path(__file__).parents[2] / "gen" / "descriptors.binpb"


def main() -> int:
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    bin_folder = Path(sys.executable).parent
    for package, files in _packages().items():
        command = [
            *(sys.executable, "-m", "grpc_tools.protoc", f"--descriptor_set_in={DESCRIPTORS}"),
            f"--plugin=protoc-gen-python_gapic={bin_folder / 'protoc-gen-python_gapic'}",
            f"--python_gapic_out={out}",
            "--python_gapic_opt=transport=rest,autogen-snippets=false",
            *files,
        ]
        made = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PATH": _path(bin_folder)})
        if made.returncode:
            print(f"{package}: {made.stderr}", file=sys.stderr)
            return made.returncode
    return 0


def _packages() -> dict[str, list[str]]:
    """Returns the files of each package with a rule."""
    described = FileDescriptorSet.FromString(DESCRIPTORS.read_bytes())
    packages: dict[str, list[str]] = {}
    for file in described.file:
        packages.setdefault(file.package, []).append(file.name)
    routed = {
        file.package
        for file in described.file
        for service in file.service
        for method in service.method
        if method.options.HasExtension(annotations_pb2.http)
    }
    return {package: packages[package] for package in sorted(routed)}


def _path(bin_folder: Path) -> str:
    return f"{bin_folder}{os.pathsep}{os.environ.get('PATH', '')}"


if __name__ == "__main__":
    sys.exit(main())
