"""`make release VERSION=1.2.0`: writes down what is promised from now on, once it keeps the last promises."""

import re
import subprocess
from typing import Annotated

import typer

from services.mesh import ROOT
from tests.release.corpus import write
from tests.release.promises import RELEASED, breaking, latest, lost_streams

VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+")


def main(version: Annotated[str, typer.Argument(help="MAJOR.MINOR.PATCH, above the last one.")]) -> None:
    """Makes `protos/released/VERSION/`: the image that `buf breaking` compares with, and the corpus."""
    last = latest()
    if not VERSION.fullmatch(version):
        raise typer.BadParameter(f"{version!r} is no MAJOR.MINOR.PATCH")
    if last is not None and _key(version) <= _key(last.name):
        raise typer.BadParameter(f"{version} is not above {last.name}, the last release")
    if last is not None and (problems := [*breaking(ROOT, last), *lost_streams(last)]):
        raise SystemExit("\n".join(["This would break what is promised:", *problems]))
    folder = RELEASED / version
    folder.mkdir(parents=True)
    buf, image = str(ROOT / ".tools" / "bin" / "buf"), str(folder / "image.binpb")
    command = [buf, "build", "protos", "--exclude-source-info", "-o", image]
    subprocess.run(command, cwd=ROOT, check=True, timeout=60)
    counts = write(folder)
    print(f"{folder.relative_to(ROOT)}: {counts[0]} events and {counts[1]} requests are promised. Commit it.")


def _key(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


if __name__ == "__main__":
    typer.run(main)
