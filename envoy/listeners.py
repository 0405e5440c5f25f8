"""The two doors: the public listener, and the internal one for the mesh's own processes."""

from envoy import auth, browsers, limits, routes, statistics, tls, tracing
from envoy.notation import Node, duration, extension, keepalive, socket_address
from envoy.policy import Policy
from services.mesh import Mesh

LOG_FIELDS = {
    "time": "%START_TIME%",
    "listener": "%VIRTUAL_CLUSTER_NAME%",
    "authority": "%REQ(:AUTHORITY)%",
    "path": "%PATH(NQ)%",
    "grpc_status": "%GRPC_STATUS(CAMEL_STRING)%",
    "http_status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "duration_ms": "%DURATION%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "cluster": "%UPSTREAM_CLUSTER%",
    "upstream": "%UPSTREAM_HOST%",
    "peer": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%",
    "user": "%REQ(X-ASTRA-USER)%",
    "service": "%REQ(X-ASTRA-SERVICE)%",
    "correlation_id": "%REQ(X-CORRELATION-ID):64%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    # Holds the trace id, of the caller's trace or of one that began here (W3C Trace Context).
    "traceparent": "%REQ(TRACEPARENT):64%",
}
"""One line of the access log. Named header by header: no token and no query string gets in."""


def public_listener(mesh: Mesh, policy: Policy) -> Node:
    """Returns the listener that the world may reach."""
    manager = _connection_manager(
        "public",
        mesh,
        policy,
        hosts=routes.public_hosts(mesh, policy),
        filters=[*browsers.filters(), auth.public_filter(mesh, policy)],
        streams=policy.public_streams,
        entry_headers=auth.entry_headers(client_address=True),
    )
    return _listener("envoy-public", mesh, manager)


def internal_listener(mesh: Mesh, policy: Policy, service_keys: str) -> Node:
    """Returns the listener of bridge, gateway, reactions and operators. What they say of a client's address is kept."""
    manager = _connection_manager(
        "internal",
        mesh,
        policy,
        hosts=routes.internal_hosts(mesh, policy),
        filters=[auth.internal_filter(mesh, policy, service_keys)],
        streams=policy.internal_streams,
        entry_headers=auth.entry_headers(client_address=False),
    )
    return _listener("envoy-internal", mesh, manager, tls.door(mesh))


def access_log(mesh: Mesh, listener: str) -> Node:
    """Returns the JSON access log, one file for both listeners."""
    return extension(
        "envoy.access_loggers.file",
        "extensions.access_loggers.file.v3.FileAccessLog",
        path=str(mesh.state_dir / "log" / "envoy-access.log"),
        log_format={"json_format": {**LOG_FIELDS, "listener": listener}},
    )


def _connection_manager(
    name: str,
    mesh: Mesh,
    policy: Policy,
    *,
    hosts: list[Node],
    filters: list[Node],
    streams: int,
    entry_headers: list[Node],
) -> Node:
    return extension(
        "envoy.filters.network.http_connection_manager",
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=name,
        codec_type="AUTO",
        # The x-forwarded-for that `entry_headers` leaves is the truth; Envoy adds nothing to it.
        use_remote_address=False,
        normalize_path=True,
        path_with_escaped_slashes_action="REJECT_REQUEST",
        request_headers_timeout=duration(policy.headers_timeout_seconds),
        http2_protocol_options={
            "max_concurrent_streams": streams,
            "connection_keepalive": keepalive(policy.ping_interval_seconds, policy.ping_timeout_seconds),
        },
        early_header_mutation_extensions=entry_headers,
        access_log=[access_log(mesh, name)],
        **tracing.of_listener(),
        route_config={"name": name, "virtual_hosts": hosts},
        http_filters=[
            *filters,
            auth.access_filter(),
            *limits.filters(policy),
            statistics.rpc_filter(),
            extension("envoy.filters.http.router", "extensions.filters.http.router.v3.Router"),
        ],
    )


def _listener(name: str, mesh: Mesh, manager: Node, transport: Node | None = None) -> Node:
    host, _, port = mesh.listens(name).rpartition(":")
    return {
        "name": name,
        "address": socket_address(host, int(port)),
        # A second Envoy on the same port fails, rather than taking half of the connections.
        "enable_reuse_port": False,
        "filter_chains": [{"filters": [manager], **(transport or {})}],
    }
