"""What is served where: a route an rpc, with its token requirement, deadline and retries; the rest UNIMPLEMENTED."""

from collections.abc import Iterable

from envoy import auth, browsers, limits
from envoy.clusters import REFLECTION, upstream_names
from envoy.notation import Node, duration
from envoy.policy import Policy
from services.contracts import Rpc, rpcs
from services.mesh import Mesh

REFLECTION_PATHS = tuple(f"/grpc.reflection.{v}.ServerReflection/ServerReflectionInfo" for v in ("v1", "v1alpha"))
HEALTH_PATHS = {"/grpc.health.v1.Health/Check": False, "/grpc.health.v1.Health/Watch": True}
"""Health paths, and whether they stream."""

_UNSENT = "connect-failure,refused-stream"
"""Failures before the service has seen anything of the call."""
_READ = f"{_UNSENT},reset,unavailable,cancelled,gateway-error"
"""`gateway-error` is what a try that took too long looks like; the gRPC conditions do not cover it."""


def public_hosts(mesh: Mesh, policy: Policy) -> list[Node]:
    """Returns the virtual host of the public listener: the public rpcs and reflection, open to other origins' pages."""
    served = [rpc for rpc in rpcs().values() if rpc.public]
    host = _host("public", ["*"], [*_rpc_routes(served, mesh, policy), *_reflection_routes(REFLECTION)])
    return [{**host, "typed_per_filter_config": browsers.cors_policy(mesh, policy)}]


def internal_hosts(mesh: Mesh, policy: Policy) -> list[Node]:
    """Returns the virtual hosts of the internal listener.

    Paths say which service is meant; where they do not, because each serves them, authority `{service}.mesh` does.
    """
    names = upstream_names()
    owned = [rpc for rpc in rpcs().values() if rpc.domain in names]
    return [
        *(service_host(name, mesh, policy) for name in names),
        _host("internal", ["*"], [*_rpc_routes(owned, mesh, policy), *_reflection_routes(REFLECTION)]),
    ]


def service_host(name: str, mesh: Mesh, policy: Policy) -> Node:
    """Returns the virtual host `{service}.mesh`: its own rpcs and those that every service has."""
    own = [rpc for rpc in rpcs().values() if rpc.domain == name]
    shared = [rpc for rpc in rpcs().values() if rpc.domain not in upstream_names()]
    routes = [
        *_rpc_routes(own, mesh, policy),
        *(_rpc_route(rpc, name, mesh, policy) for rpc in shared),
        *(_open_route(path, name, _bounds(policy, stream)) for path, stream in HEALTH_PATHS.items()),
        *_reflection_routes(name),
    ]
    return _host(name, [f"{name}.mesh"], routes)


def _host(name: str, domains: list[str], routes: list[Node]) -> Node:
    return {
        "name": name,
        "domains": domains,
        "routes": [_not_grpc(), *routes, _unimplemented()],
        "retry_policy": unsent_retries(),
        "request_headers_to_remove": ["authorization"],
        "response_headers_to_add": [
            _response_header("x-mesh-flags", "%RESPONSE_FLAGS%"),
            _response_header("x-mesh-reason", "%RESPONSE_CODE_DETAILS%"),
        ],
    }


def _rpc_routes(served: Iterable[Rpc], mesh: Mesh, policy: Policy) -> list[Node]:
    return [_rpc_route(rpc, rpc.domain, mesh, policy) for rpc in served]


def _rpc_route(rpc: Rpc, cluster: str, mesh: Mesh, policy: Policy) -> Node:
    action = {"cluster": cluster, **_bounds(policy, rpc.server_streaming), **limits.counted_for_all(rpc)}
    if rpc.read_only and not rpc.server_streaming:
        action["retry_policy"] = read_retries(policy, slow=rpc.allow == {"ADMIN"})
    return {
        "match": {"path": rpc.path},
        "route": action,
        "typed_per_filter_config": {
            **auth.per_route(auth.requirement_of(rpc)),
            **auth.access_of(rpc),
            **limits.counted_locally(rpc, mesh, policy),
        },
    }


def _reflection_routes(cluster: str) -> list[Node]:
    return [_open_route(path, cluster, _unbounded()) for path in REFLECTION_PATHS]


def _open_route(path: str, cluster: str, bounds: Node) -> Node:
    return {
        "match": {"path": path},
        "route": {"cluster": cluster, **bounds},
        "typed_per_filter_config": auth.per_route(None),
    }


def _not_grpc() -> Node:
    """Returns the first route: JSON that was meant for the gateway is told so, whatever its path."""
    grpc = {"name": "content-type", "string_match": {"prefix": "application/grpc"}}
    body = "this port takes gRPC and gRPC-Web (content-type: application/grpc…); JSON goes to the gateway\n"
    others = [
        {**grpc, "invert_match": True, "treat_missing_header_as_empty": True},
        # A preflight has no type of its own; the CORS filter answers it, but not on a route that answers itself.
        {"name": ":method", "string_match": {"exact": "OPTIONS"}, "invert_match": True},
    ]
    return {
        "match": {"prefix": "/", "headers": others},
        "direct_response": {"status": 415, "body": {"inline_string": body}},
        "typed_per_filter_config": auth.per_route(None),
    }


def _unimplemented() -> Node:
    """Returns the last route. Envoy makes a 404 UNIMPLEMENTED for gRPC; stated here, it tells why."""
    return {
        "match": {"prefix": "/"},
        "direct_response": {"status": 404, "body": {"inline_string": "this listener serves no such method"}},
        "typed_per_filter_config": auth.per_route(None),
    }


def _bounds(policy: Policy, streaming: bool) -> Node:
    return _unbounded() if streaming else _deadline(policy)


def _deadline(policy: Policy) -> Node:
    """Returns the limits of a unary call. `timeout` is off: it would answer UNAVAILABLE and ignore `grpc-timeout`."""
    return {
        "timeout": "0s",
        "max_stream_duration": {
            "max_stream_duration": duration(policy.deadline_seconds),
            "grpc_timeout_header_max": duration(policy.max_deadline_seconds),
            "grpc_timeout_header_offset": duration(policy.deadline_margin_seconds),
        },
    }


def _unbounded() -> Node:
    """Returns the limits of a stream: none but the caller's own, also when nothing is said for long."""
    return {
        "timeout": "0s",
        "idle_timeout": "0s",
        "max_stream_duration": {"max_stream_duration": "0s", "grpc_timeout_header_max": "0s"},
    }


def unsent_retries() -> Node:
    """Returns the retries that are safe for any call: the service has not seen it."""
    return {"retry_on": _UNSENT, "num_retries": 2, **_elsewhere()}


def read_retries(policy: Policy, *, slow: bool) -> Node:
    """Returns the retries of a read. A `slow` one, which may walk a whole history, is never cut to be tried again."""
    return {
        "retry_on": _READ,
        "num_retries": policy.retries,
        **({} if slow else {"per_try_timeout": duration(policy.try_timeout_seconds)}),
        "retry_back_off": {
            "base_interval": duration(policy.retry_backoff_seconds),
            "max_interval": duration(policy.retry_backoff_max_seconds),
        },
        **_elsewhere(),
    }


def _elsewhere() -> Node:
    name = "previous_hosts"
    config = {"@type": f"type.googleapis.com/envoy.extensions.retry.host.{name}.v3.PreviousHostsPredicate"}
    return {
        "retry_host_predicate": [{"name": f"envoy.retry_host_predicates.{name}", "typed_config": config}],
        "host_selection_retry_max_attempts": 3,
    }


def _response_header(name: str, value: str) -> Node:
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
