"""The whole configuration: a static bootstrap, and an endpoint file a service that may change while Envoy runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from envoy import scraping, statistics, tls, tracing
from envoy.clusters import clusters, upstream_names
from envoy.endpoints import FOLDER, by_file, endpoints_file, endpoints_path
from envoy.listeners import internal_listener, public_listener
from envoy.notation import Node, extension, socket_address, to_yaml, write_atomically
from envoy.policy import Policy
from services.mesh import HOST, Mesh, is_ip


@dataclass(frozen=True, slots=True)
class Rendering:
    """Files by their path; `bootstrap` names the one that Envoy is started with."""

    bootstrap: Path
    files: Mapping[Path, str]

    def write(self, *, keep_endpoints: bool = False) -> None:
        """Writes the files, and makes the folder of the logs, without which Envoy refuses its configuration.

        With `keep_endpoints` calls go on to where they go now, whatever the map says.
        """
        for path, text in self.files.items():
            if not (keep_endpoints and path.parent.name == FOLDER and path.exists()):
                write_atomically(path, text)
        (self.bootstrap.parents[1] / "log").mkdir(parents=True, exist_ok=True)


def render(mesh: Mesh, service_keys: str, policy: Policy | None = None) -> Rendering:
    """Renders a mesh. `service_keys` is the JWKS with the public keys of the processes."""
    path = mesh.state_dir / "envoy" / "envoy.yaml"
    files = {path: to_yaml(bootstrap(mesh, service_keys, policy or Policy()))}
    for name in upstream_names():
        if is_ip(mesh.host(name)):
            files[endpoints_path(mesh, name)] = endpoints_file(name, [mesh.addresses[name]])
        elif by_file(mesh, name) and not endpoints_path(mesh, name).exists():
            # Envoy takes no names here. Discovery writes the addresses as the instances register, and they stay.
            files[endpoints_path(mesh, name)] = endpoints_file(name, [])
    files.update(tls.secret_files(mesh))
    return Rendering(path, files)


def bootstrap(mesh: Mesh, service_keys: str, policy: Policy) -> Node:
    """Returns what Envoy starts with. Its admin face can stop it, so it is on loopback whatever the map says."""
    return {
        "node": {"id": "envoy", "cluster": "astra"},
        "admin": {"address": socket_address(HOST, mesh.port("envoy-admin"))},
        "static_resources": {
            "listeners": [
                public_listener(mesh, policy),
                internal_listener(mesh, policy, service_keys),
                scraping.listener(mesh),
            ],
            "clusters": [*clusters(mesh, policy), scraping.cluster(mesh), *tracing.clusters()],
        },
        "stats_config": statistics.labels(),
        "overload_manager": {
            "resource_monitors": [
                extension(
                    "envoy.resource_monitors.global_downstream_max_connections",
                    "extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                    max_active_downstream_connections=policy.downstream_connections,
                )
            ]
        },
    }


def service_keys_of(mesh: Mesh) -> str:
    """Reads the public keys of the processes."""
    path = mesh.keys_dir / "services.jwks.json"
    try:
        return path.read_text()
    except FileNotFoundError:
        raise SystemExit(f"{path}: no keys of the processes yet; `make run` makes them") from None
