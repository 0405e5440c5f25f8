"""What Envoy counts of calls, and the labels that Prometheus sees."""

from envoy.notation import Node, extension
from services.contracts import rpcs

_NAMED = (
    *("cluster_name", "http_conn_manager_prefix", "local_http_ratelimit_prefix"),
    *("response_code", "response_code_class"),
)
_GRPC = r"^cluster\.[^.]+\.grpc(?:-web)?\."
_SERVICE = r"[a-z0-9_]+(?:\.[a-z0-9_]+)*\.[A-Z][A-Za-z0-9]*"


def rpc_filter() -> Node:
    """Returns the filter that counts by method and gRPC status. Methods are named: callers make no statistics."""
    services: dict[str, list[str]] = {}
    for rpc in rpcs().values():
        services.setdefault(rpc.service, []).append(rpc.name)
    named = [{"name": name, "method_names": methods} for name, methods in services.items()]
    return extension(
        "envoy.filters.http.grpc_stats",
        "extensions.filters.http.grpc_stats.v3.FilterConfig",
        individual_method_stats_allowlist={"services": named},
        enable_upstream_stats=True,
    )


def labels() -> Node:
    """Returns the labels: some of Envoy's own, and those of an rpc, which its defaults cut at the package's dots."""
    return {
        "use_all_default_tags": False,
        "stats_tags": [
            {"tag_name": "grpc_service", "regex": rf"{_GRPC}(({_SERVICE})\.)"},
            {"tag_name": "grpc_method", "regex": rf"{_GRPC}{_SERVICE}(\.([A-Z][A-Za-z0-9]*))"},
            {"tag_name": "grpc_code", "regex": rf"{_GRPC}{_SERVICE}\.[A-Z][A-Za-z0-9]*(\.(\d+))$"},
            *({"tag_name": f"envoy.{name}"} for name in _NAMED),
        ],
    }
