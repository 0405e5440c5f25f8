"""Renders supervisord's configuration from the list of processes, and knows where its files are."""

import getpass
import hashlib
import re
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path

from services.local.processes import GROUPS, Process
from services.mesh import ROOT, Mesh

LONGEST_SOCKET_PATH = 85
"""A Unix socket's path has at most 103 bytes (macOS), and supervisord first binds it with `.<pid>` behind it."""

STOP_SECONDS = 10
"""How long a process may take to stop before it is killed."""


def control_socket(mesh: Mesh) -> Path:
    """Returns the path of the control socket: in the state folder, or in a short one named after it."""
    path = mesh.state_dir / "supervisor" / "control.sock"
    if len(str(path).encode()) <= LONGEST_SOCKET_PATH:
        return path
    digest = hashlib.sha256(str(mesh.state_dir).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"astra-{getpass.getuser()}-{digest}" / "control.sock"


def log_path(mesh: Mesh, process: str) -> Path:
    """Returns the log of a process; `supervisord` has one too."""
    return mesh.state_dir / "log" / f"{process}.log"


def write_configuration(mesh: Mesh, processes: Sequence[Process]) -> Path:
    """Writes `supervisord.conf` and makes the folders it names, closed to others."""
    folder = mesh.state_dir / "supervisor"
    for path in (folder, control_socket(mesh).parent, log_path(mesh, "").parent):
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        if path.stat().st_mode & 0o022:
            raise SystemExit(f"{path}: others may write there; delete it or take write access from them")
    path = folder / "supervisord.conf"
    path.write_text(render(mesh, processes))
    return path


def render(mesh: Mesh, processes: Sequence[Process]) -> str:
    """Returns the configuration: nothing starts by itself, what was started is kept alive, groups stop in order."""
    sections = [
        _section(
            "supervisord",
            logfile=log_path(mesh, "supervisord"),
            pidfile=mesh.state_dir / "supervisor" / "supervisord.pid",
            childlogdir=log_path(mesh, "").parent,
            logfile_maxbytes="10MB",
            logfile_backups=1,
        ),
        _section("unix_http_server", file=control_socket(mesh), chmod="0600"),
        _section(
            "rpcinterface:supervisor",
            **{"supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"},
        ),
    ]
    for priority, group in enumerate(GROUPS):
        members = [process for process in processes if process.group == group]
        if members:
            names = ",".join(process.name for process in members)
            sections.append(_section(f"group:{group}", programs=names, priority=priority))
        sections += [_program(mesh, process) for process in members]
    return "\n".join(sections)


def _program(mesh: Mesh, process: Process) -> str:
    return _section(
        f"program:{process.name}",
        command=shlex.join(process.command),
        directory=ROOT,
        autostart="false",
        autorestart="true",
        # One that ends in its first second is started again after 1 s, then 2, 3, …; supervisord never gives it up.
        startsecs=1,
        startretries=100_000,
        stopwaitsecs=STOP_SECONDS,
        # A process may have children; none outlives it.
        stopasgroup="false",
        killasgroup="true",
        redirect_stderr="true",
        # Alone among the values, it is expanded twice.
        stdout_logfile=str(log_path(mesh, process.name)).replace("%", "%%"),
        stdout_logfile_maxbytes="20MB",
        stdout_logfile_backups=1,
    )


def _section(section: str, **values: object) -> str:
    for value in values.values():
        if re.search(r"\s[;#]", str(value)):
            raise SystemExit(f"{value}: supervisord takes what follows ` ;` or ` #` for a comment; use another folder")
    lines = [f"{key} = {str(value).replace('%', '%%')}" for key, value in values.items()]
    return "\n".join([f"[{section}]", *lines, ""])
