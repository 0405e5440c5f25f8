"""Images where there is no image registry: Debian's packages, Envoy from its wheel, our wheels from a wheelhouse."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pip

from envoy.binary import find_binary
from services.mesh import ROOT
from tests.containers.commands import CommandFailed, run

IMAGE = "astratrade/offline"
"""One image that has Python, Redis and Envoy, whichever is asked for."""
PACKAGES = ("python3", "python3-venv", "redis-server")
WHEELHOUSE = ROOT / "build" / "wheelhouse"
PYTHON = "/usr/bin/python3"
"""Debian's own Python, as in the image: the wheels are chosen for it."""


def make_images(engine: Mapping[str, str], tell: Callable[[str], None]) -> dict[str, str]:
    """Makes what is missing and returns the variables of compose.yaml that name it."""
    release = debian_release()
    image = f"{IMAGE}:{release}"
    if not run(["docker", "images", "--quiet", image], seconds=30, env=engine).strip():
        tell(f"making {image} from Debian's packages")
        _make_base(image, release, engine)
    tell("collecting the wheels")
    _fill_wheelhouse()
    return {
        **dict.fromkeys(("PYTHON_IMAGE", "REDIS_IMAGE", "ENVOY_IMAGE"), image),
        "PIP_OPTIONS": "--no-index --find-links .",
    }


def debian_release() -> str:
    """Returns the name of this machine's release: its Python is then the image's."""
    facts = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    if facts.get("ID", "").strip('"') != "debian":
        raise CommandFailed("images without a registry are made from Debian's packages: this needs a Debian machine")
    return facts["VERSION_CODENAME"].strip('"')


def _make_base(image: str, release: str, engine: Mapping[str, str]) -> None:
    with tempfile.TemporaryDirectory(prefix="astra-base-") as folder:
        root = Path(folder) / "root"
        # Nobody needs half an image after a power cut, so dpkg need not wait for the disk.
        configuration = root / "etc/dpkg/dpkg.cfg.d/unsafe-io"
        configuration.parent.mkdir(parents=True)
        configuration.write_text("force-unsafe-io\n")
        options = ["--variant=minbase", f"--include={','.join(PACKAGES)}"]
        run(["debootstrap", *options, release, str(root), mirror_of(release)], seconds=600)
        for needless in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale", "usr/share/man"):
            shutil.rmtree(root / needless, ignore_errors=True)
        shutil.copy(find_binary(), root / "usr/local/bin/envoy")
        with subprocess.Popen(["tar", "--create", "--directory", str(root), "."], stdout=subprocess.PIPE) as tar:
            done = subprocess.run(
                ["docker", "import", "-", image],
                env=engine,
                stdin=tar.stdout,
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
        if done.returncode or tar.returncode:
            raise CommandFailed(f"`docker import` of {image} failed: {done.stderr}")


def _fill_wheelhouse() -> None:
    """Downloads the wheels of runtime.lock, by our pip on Debian's Python; those that are there already are kept."""
    WHEELHOUSE.mkdir(parents=True, exist_ok=True)
    command = [PYTHON, str(Path(pip.__file__).parent), "download", "--quiet", "--disable-pip-version-check"]
    command += ["--only-binary", ":all:", "--require-hashes", "--find-links", str(WHEELHOUSE)]
    run([*command, "--dest", str(WHEELHOUSE), "--requirement", str(ROOT / "runtime.lock")], seconds=300)
    assert any(WHEELHOUSE.iterdir()), f"{sys.executable}: pip downloaded nothing into {WHEELHOUSE}"


def mirror_of(release: str) -> str:
    """Returns where this machine has its own packages of a release from."""
    command = ["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE)"]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    sites = [site for site, _, known in (line.partition(" ") for line in told.splitlines()) if known == release]
    if not sites:
        raise SystemExit(f"apt knows no source of {release}: add one, and run `apt-get update`")
    return sites[0]
