"""How often a caller may call: which rpcs each limit is of, and the filters that hold callers to it.

A caller is its token's subject; without a token its address, as the gateway or the connection states it. The counts are
Envoy's own, a listener's and an rpc's each; for the limits that must hold over several Envoys a service keeps them.
"""

import math
from collections.abc import Mapping

from envoy.notation import Node, duration, extension, typed
from envoy.policy import Policy
from services.contracts import Rpc
from services.mesh import Mesh

LIMIT_OF: Mapping[str, str] = {
    "/astra.trading.v1.TradingService/ExecuteTrade": "trades",
    "/astra.trading.v1.TradingService/CloseTrade": "trades",
    "/astra.user.v1.UserService/GetUser": "profile_reads",
    "/astra.social.v1.SocialService/GetSocialProfile": "profile_reads",
    "/astra.social.v1.SocialService/ListFeed": "feed",
    "/astra.social.v1.SocialService/WatchFeed": "feed",
    "/astra.user.v1.UserService/RegisterUser": "registration",
    "/astra.user.v1.UserService/Login": "login",
}
"""Limit by rpc; the numbers are in `Mesh.limits`."""

WHOLE_MESH = frozenset({"registration", "login"})
"""Limits that hold over several Envoys."""

LOCAL = "envoy.filters.http.local_ratelimit"
GLOBAL = "envoy.filters.http.ratelimit"
RATELIMIT_CLUSTER = "ratelimit"
DOMAIN = "astra"

_UNLIMITED = 1_000_000_000
_HEADERS = "DRAFT_VERSION_03"


def filters(policy: Policy) -> list[Node]:
    """Returns the filters; what they count is up to the routes, and most of those have no limit."""
    asked = {
        "domain": DOMAIN,
        "timeout": duration(policy.ratelimit_timeout_seconds),
        # Without its Redis nobody would get in any more.
        "failure_mode_deny": False,
        "rate_limited_as_resource_exhausted": True,
        "enable_x_ratelimit_headers": _HEADERS,
        "rate_limit_service": {
            "grpc_service": {"envoy_grpc": {"cluster_name": RATELIMIT_CLUSTER}},
            "transport_api_version": "V3",
        },
    }
    return [
        extension(LOCAL, "extensions.filters.http.local_ratelimit.v3.LocalRateLimit", stat_prefix="unlimited"),
        extension(GLOBAL, "extensions.filters.http.ratelimit.v3.RateLimit", **asked),
    ]


def counted_locally(rpc: Rpc, mesh: Mesh, policy: Policy) -> Node:
    """Returns the per-route configuration of an rpc whose limit each Envoy holds; empty for the others."""
    name = LIMIT_OF.get(rpc.path)
    if name is None or name in WHOLE_MESH:
        return {}
    per_minute = mesh.limits[name]
    everything = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    return {
        LOCAL: typed(
            "extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
            stat_prefix=name,
            filter_enabled=everything,
            filter_enforced=everything,
            rate_limited_as_resource_exhausted=True,
            enable_x_ratelimit_headers=_HEADERS,
            # The bucket fills steadily; and Envoy raises its flag only after it has written the one in the answer.
            response_headers_to_add=[
                {"header": {"key": "retry-after", "value": str(math.ceil(60 / per_minute))}},
                {"header": {"key": "x-mesh-flags", "value": "RL"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"},
            ],
            rate_limits=_counts(name),
            # Of whoever is no caller: the mesh's own processes.
            token_bucket=_bucket(_UNLIMITED),
            max_dynamic_descriptors=policy.limited_callers,
            # No value: a bucket a caller.
            descriptors=[
                {"entries": [{"key": "limit", "value": name}, *caller], "token_bucket": _bucket(per_minute)}
                for caller in ([{"key": "user"}], [{"key": "caller", "value": "nobody"}, {"key": "address"}])
            ],
        )
    }


def counted_for_all(rpc: Rpc) -> Node:
    """Returns what is added to the route action of an rpc whose limit holds over several Envoys."""
    name = LIMIT_OF.get(rpc.path)
    return {"rate_limits": _counts(name)} if name in WHOLE_MESH else {}


def _counts(name: str | None) -> list[Node]:
    """Returns what a call counts for: its user, or without one its address."""
    limit = {"generic_key": {"descriptor_key": "limit", "descriptor_value": name}}
    nobody = {
        "header_value_match": {
            "descriptor_key": "caller",
            "descriptor_value": "nobody",
            "expect_match": False,
            "headers": [{"name": "x-astra-user", "present_match": True}],
        }
    }
    user = {"request_headers": {"header_name": "x-astra-user", "descriptor_key": "user"}}
    address = {"request_headers": {"header_name": "x-forwarded-for", "descriptor_key": "address"}}
    return [{"actions": [limit, user]}, {"actions": [limit, nobody, address]}]


def _bucket(per_minute: int) -> Node:
    return {"max_tokens": per_minute, "tokens_per_fill": per_minute, "fill_interval": "60s"}
