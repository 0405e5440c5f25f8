"""Envoy's own numbers and readiness, without the rest of its admin face, which could stop it."""

from envoy.notation import Node, duration, extension, socket_address
from services.mesh import ANY_HOST, HOST, Mesh, is_ip

ADMIN = "envoy-admin"
TIMEOUT_SECONDS = 5.0

_SHOWN = {"/metrics": "/stats/prometheus", "/healthz": "/ready", "/readyz": "/ready"}
"""What is served, and what of the admin face answers it. Nothing else of it can be reached, nor by another method."""


def listener(mesh: Mesh) -> Node:
    """Returns the listener that Prometheus and health checks ask."""
    routes = [_route(path, admin_path) for path, admin_path in _SHOWN.items()]
    manager = extension(
        "envoy.filters.network.http_connection_manager",
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="metrics",
        codec_type="HTTP1",
        path_with_escaped_slashes_action="REJECT_REQUEST",
        stream_idle_timeout=duration(TIMEOUT_SECONDS),
        request_headers_timeout=duration(TIMEOUT_SECONDS),
        route_config={
            "name": "metrics",
            "virtual_hosts": [{"name": "metrics", "domains": ["*"], "routes": routes}],
        },
        http_filters=[extension("envoy.filters.http.router", "extensions.filters.http.router.v3.Router")],
    )
    host = mesh.host("envoy-metrics")
    return {
        "name": "envoy-metrics",
        "address": socket_address(host if is_ip(host) else ANY_HOST, mesh.port("envoy-metrics")),
        "enable_reuse_port": False,
        "filter_chains": [{"filters": [manager]}],
    }


def cluster(mesh: Mesh) -> Node:
    """Returns the cluster that is the admin face."""
    endpoint = {"endpoint": {"address": socket_address(HOST, mesh.port(ADMIN))}}
    return {
        "name": ADMIN,
        "type": "STATIC",
        "connect_timeout": duration(1.0),
        "load_assignment": {"cluster_name": ADMIN, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _route(path: str, admin_path: str) -> Node:
    return {
        # A query is kept; of these pages it can only choose which numbers are shown.
        "match": {"path": path, "headers": [{"name": ":method", "string_match": {"exact": "GET"}}]},
        "route": {
            "cluster": ADMIN,
            "timeout": duration(TIMEOUT_SECONDS),
            "regex_rewrite": {"pattern": {"regex": ".*"}, "substitution": admin_path},
        },
    }
