"""Who is called: a cluster a service with its health checks and breakers, the reflection one, and the users' keys."""

from envoy import tls
from envoy.auth import JWKS_CLUSTER
from envoy.endpoints import by_file, endpoints_path, load_assignment
from envoy.limits import RATELIMIT_CLUSTER
from envoy.notation import Node, duration, extension, keepalive, typed
from envoy.policy import Policy
from services.contracts import rpcs
from services.mesh import PORTS, SERVICES, Mesh, is_ip

REFLECTION = "reflection"


def upstream_names() -> list[str]:
    """Returns what serves rpcs: the services of the map, then other processes on it with a package of their own."""
    services = [service.name for service in SERVICES]
    return services + sorted({rpc.domain for rpc in rpcs().values()} & PORTS.keys() - set(services))


def clusters(mesh: Mesh, policy: Policy) -> list[Node]:
    """Returns every cluster."""
    served = [service_cluster(mesh, name, policy) for name in upstream_names()]
    return [*served, reflection_cluster(policy), jwks_cluster(mesh, policy), ratelimit_cluster(mesh, policy)]


def service_cluster(mesh: Mesh, name: str, policy: Policy) -> Node:
    """Returns the cluster of one service, HTTP/2 in plain text."""
    return {
        "name": name,
        **_discovery(mesh, name),
        "connect_timeout": duration(policy.connect_timeout_seconds),
        **_http2(policy),
        **tls.transport(mesh, name),
        # By default a new host's health is held back for a second, and half the hosts down means asking the dead too.
        "common_lb_config": {"update_merge_window": "0s", "healthy_panic_threshold": {"value": 0}},
        "ignore_health_on_host_removal": True,
        "health_checks": [health_check(policy, asked_service(name))],
        "outlier_detection": outlier_detection(policy),
        "circuit_breakers": circuit_breakers(policy),
    }


def reflection_cluster(policy: Policy) -> Node:
    """Returns the services one after the other: each knows all descriptors, so the first healthy one answers."""
    return {
        "name": REFLECTION,
        "connect_timeout": duration(policy.connect_timeout_seconds),
        "lb_policy": "CLUSTER_PROVIDED",
        "cluster_type": extension(
            "envoy.clusters.aggregate",
            "extensions.clusters.aggregate.v3.ClusterConfig",
            clusters=[service.name for service in SERVICES],
        ),
    }


def jwks_cluster(mesh: Mesh, policy: Policy) -> Node:
    """Returns the HTTP listener of the user service, the only one that is not gRPC."""
    return {
        "name": JWKS_CLUSTER,
        **_fixed(mesh, JWKS_CLUSTER),
        "connect_timeout": duration(policy.connect_timeout_seconds),
        **tls.transport(mesh, JWKS_CLUSTER, alpn="http/1.1"),
    }


def ratelimit_cluster(mesh: Mesh, policy: Policy) -> Node:
    """Returns the rate limit service, which each Envoy asks."""
    return {
        "name": RATELIMIT_CLUSTER,
        **_fixed(mesh, RATELIMIT_CLUSTER),
        "connect_timeout": duration(policy.connect_timeout_seconds),
        **_http2(policy),
        **tls.transport(mesh, RATELIMIT_CLUSTER),
    }


def asked_service(name: str) -> str:
    """Returns whose health counts: the whole server's; of a process beside the services, that of its own rpcs.

    The bridge as a whole is not ready while a stream is stopped, and just then an operator has to reach it.
    """
    if name in {service.name for service in SERVICES}:
        return ""
    return next(rpc.service for rpc in rpcs().values() if rpc.domain == name)


def health_check(policy: Policy, service: str = "") -> Node:
    """Returns the gRPC health check, of the server as a whole or of one of its services."""
    unhealthy = duration(policy.unhealthy_interval_seconds)
    return {
        "timeout": duration(policy.health_timeout_seconds),
        "interval": duration(policy.health_interval_seconds),
        # Without these a host that was down at the first probe is asked again after a minute.
        "no_traffic_interval": unhealthy,
        "no_traffic_healthy_interval": duration(policy.health_interval_seconds),
        "unhealthy_interval": unhealthy,
        "unhealthy_threshold": policy.unhealthy_threshold,
        "healthy_threshold": 1,
        "grpc_health_check": {"service_name": service} if service else {},
    }


def outlier_detection(policy: Policy) -> Node:
    """Returns when a replica that answers badly is left alone for a while."""
    return {
        "interval": "1s",
        "consecutive_gateway_failure": policy.outlier_failures,
        "enforcing_consecutive_gateway_failure": 100,
        "consecutive_5xx": policy.outlier_errors,
        "base_ejection_time": duration(policy.ejection_seconds),
        "max_ejection_percent": policy.max_ejection_percent,
        # Else a health check, which a failing replica passes, brings it back at once.
        "successful_active_health_check_uneject_host": False,
    }


def circuit_breakers(policy: Policy) -> Node:
    """Returns how much is in flight to one service before calls are refused at once."""
    return {
        "thresholds": [
            {
                "max_connections": policy.max_connections,
                "max_pending_requests": policy.max_pending_requests,
                "max_requests": policy.max_requests,
                "retry_budget": {
                    "budget_percent": {"value": policy.retry_budget_percent},
                    "min_retry_concurrency": policy.retry_budget_min,
                },
            }
        ]
    }


def _http2(policy: Policy) -> Node:
    pings = keepalive(policy.ping_interval_seconds, policy.ping_timeout_seconds)
    return {
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": typed(
                "extensions.upstreams.http.v3.HttpProtocolOptions",
                explicit_http_config={"http2_protocol_options": {"connection_keepalive": pings}},
            )
        }
    }


def _discovery(mesh: Mesh, name: str) -> Node:
    """Returns how the instances are found: by the endpoint file, or by DNS where the address is a name."""
    if not by_file(mesh, name):
        return _fixed(mesh, name)
    source = {"path_config_source": {"path": str(endpoints_path(mesh, name))}, "resource_api_version": "V3"}
    return {"type": "EDS", "eds_cluster_config": {"service_name": name, "eds_config": source}}


def _fixed(mesh: Mesh, name: str) -> Node:
    kind = "STATIC" if is_ip(mesh.host(name)) else "STRICT_DNS"
    return {"type": kind, "load_assignment": load_assignment(name, [mesh.addresses[name]])}
