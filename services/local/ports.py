"""Whether the ports of a mesh are free, before anything is started."""

import socket
from collections.abc import Sequence

from services.local.processes import Process
from services.mesh import Mesh


class PortsTaken(Exception):
    """Something else listens where a process of the mesh should; says where and what to do."""


def check_ports(mesh: Mesh, processes: Sequence[Process]) -> None:
    """Raises `PortsTaken`, naming every port that is taken and the process that wanted it."""
    taken = [
        f"  port {mesh.port(name)}, wanted by {process.name}" + (f" for {name}" if name != process.name else "")
        for process in processes
        for name in process.listens
        if not _free(mesh.host(name), mesh.port(name))
    ]
    if taken:
        lines = "\n".join(taken)
        raise PortsTaken(
            f"something else listens on a port of the mesh:\n{lines}\n"
            "Stop it (`lsof -nP -iTCP:PORT -sTCP:LISTEN` shows what it is), or use other ports: "
            "`python -m services.local run --free-ports`"
        )


def _free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: a port with connections that are merely closing counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
