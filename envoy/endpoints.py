"""Where the instances of a service are: one file a service, which Envoy rereads when it is renamed into place."""

from collections.abc import Sequence
from pathlib import Path

from envoy.notation import Node, socket_address, to_yaml, typed, write_atomically
from services.mesh import SERVICES, Mesh, is_ip

FOLDER = "endpoints"


def endpoints_path(mesh: Mesh, cluster: str) -> Path:
    """Returns the path of a cluster's endpoint file."""
    return mesh.state_dir / "envoy" / FOLDER / f"{cluster}.yaml"


def by_file(mesh: Mesh, name: str) -> bool:
    """Tells whether a cluster's instances stand in its endpoint file: not where DNS has to find them."""
    registers = mesh.registry and name in {service.name for service in SERVICES}
    return registers or is_ip(mesh.host(name))


def load_assignment(cluster: str, addresses: Sequence[str]) -> Node:
    """Returns the endpoints of a cluster from its `host:port` addresses."""
    hosts = [address.rpartition(":") for address in addresses]
    return {
        "cluster_name": cluster,
        "endpoints": [
            {"lb_endpoints": [{"endpoint": {"address": socket_address(host, int(port))}} for host, _, port in hosts]}
        ],
    }


def endpoints_file(cluster: str, addresses: Sequence[str]) -> str:
    """Returns the endpoint file's text. Its addresses must be IP addresses: Envoy resolves no names there."""
    assignment = load_assignment(cluster, addresses)
    return to_yaml({"resources": [typed("config.endpoint.v3.ClusterLoadAssignment", **assignment)]})


def write_endpoints(mesh: Mesh, cluster: str, addresses: Sequence[str]) -> Path:
    """Moves a service to these `ip:port` addresses; Envoy follows within milliseconds."""
    path = endpoints_path(mesh, cluster)
    write_atomically(path, endpoints_file(cluster, addresses))
    return path
