"""Who is let in at the door: token issuers, what each rpc requires, and the headers that only Envoy may set."""

from envoy.notation import Node, duration, extension, typed
from envoy.policy import Policy
from services.contracts import Rpc
from services.mesh import Mesh

JWT = "envoy.filters.http.jwt_authn"
RBAC = "envoy.filters.http.rbac"
JWKS_CLUSTER = "user-jwks"
AUDIENCE = "astra"
USERS, SERVICES = "users", "services"
"""Issuers. The public listener knows only the first."""

OPEN, CALLER, SERVICE = "open", "caller", "service"
"""Requirements: a token may be missing; any known issuer's token; a service's token."""

_CALLERS: dict[str, Node] = {
    "ADMIN": {"name": "x-astra-roles", "string_match": {"safe_regex": {"regex": "(.* )?admin( .*)?"}}},
    "SERVICE": {"name": "x-astra-service", "present_match": True},
}
"""What tells an admin and a service: headers that only the token filter sets."""


def requirement_of(rpc: Rpc) -> str:
    """Returns what a call of the rpc must bring. Roles and acting users are the service's to check."""
    if "OPEN" in rpc.allow:
        return OPEN
    return SERVICE if rpc.allow == {"SERVICE"} else CALLER


def per_route(requirement: str | None) -> Node:
    """Returns a route's requirement; `None` asks for no token and looks at none."""
    choice: Node = {"requirement_name": requirement} if requirement else {"disabled": True}
    return {JWT: typed("extensions.filters.http.jwt_authn.v3.PerRouteConfig", **choice)}


def access_of(rpc: Rpc) -> Node:
    """Returns the per-route rule of an rpc that is for admins or services alone; the services check it once more."""
    if not rpc.allow <= _CALLERS.keys():
        return {}
    callers = [{"header": _CALLERS[level]} for level in sorted(rpc.allow)]
    rules = {"action": "ALLOW", "policies": {rpc.name: {"permissions": [{"any": True}], "principals": callers}}}
    return {RBAC: typed("extensions.filters.http.rbac.v3.RBACPerRoute", rbac={"rules": rules})}


def access_filter() -> Node:
    """Returns the filter that follows the rules of the routes; without one it lets the call pass."""
    return extension(RBAC, "extensions.filters.http.rbac.v3.RBAC")


def public_filter(mesh: Mesh, policy: Policy) -> Node:
    """Returns the filter of the public listener."""
    return _filter({USERS: users_provider(mesh, policy)}, {OPEN: _any(USERS, optional=True), CALLER: _any(USERS)})


def internal_filter(mesh: Mesh, policy: Policy, service_keys: str) -> Node:
    """Returns the filter of the internal listener."""
    return _filter(
        {USERS: users_provider(mesh, policy), SERVICES: services_provider(policy, service_keys)},
        {OPEN: _any(USERS, SERVICES, optional=True), CALLER: _any(USERS, SERVICES), SERVICE: _any(SERVICES)},
    )


def users_provider(mesh: Mesh, policy: Policy) -> Node:
    """Returns the issuer `users`, whose keys the user service shows over HTTP and may rotate."""
    return {
        **_provider(USERS, policy, subject="[A-Za-z0-9_-]+"),
        "remote_jwks": {
            "http_uri": {
                "uri": f"http://{mesh.addresses[JWKS_CLUSTER]}/jwks.json",
                "cluster": JWKS_CLUSTER,
                "timeout": duration(policy.jwks_timeout_seconds),
            },
            "cache_duration": duration(policy.jwks_cache_seconds),
            # Keys are fetched ahead of the calls; the listener opens without them, so start order does not matter.
            "async_fetch": {"fast_listener": True, "failed_refetch_duration": "1s"},
        },
        "claim_to_headers": [
            {"header_name": "x-astra-user", "claim_name": "sub"},
            {"header_name": "x-astra-roles", "claim_name": "roles"},
            {"header_name": "x-astra-token-time", "claim_name": "iat"},
        ],
    }


def services_provider(policy: Policy, service_keys: str) -> Node:
    """Returns the issuer `services`; its keys change only with a new rendering."""
    return {
        **_provider(SERVICES, policy, subject="service:[a-z0-9-]+"),
        "local_jwks": {"inline_string": service_keys},
        # Not so for users: a token that is in the cache passes although its key has been withdrawn.
        "jwt_cache_config": {"jwt_cache_size": policy.cached_tokens},
        "claim_to_headers": [{"header_name": "x-astra-service", "claim_name": "sub"}],
    }


def entry_headers(*, client_address: bool) -> list[Node]:
    """Returns what happens to headers before anything reads them.

    Identity is Envoy's to state, and so are its own `x-envoy-*` switches, by which a caller could order retries. With
    `client_address` the peer's address replaces what the caller says of it.
    """
    mutations: list[Node] = [
        {"remove_on_match": {"key_matcher": {"prefix": prefix}}} for prefix in ("x-astra-", "x-envoy-")
    ]
    if client_address:
        peer = {"key": "x-forwarded-for", "value": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"}
        mutations.append({"append": {"header": peer, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}})
    return [
        extension(
            "envoy.http.early_header_mutation.header_mutation",
            "extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
            mutations=mutations,
        )
    ]


def _provider(issuer: str, policy: Policy, *, subject: str) -> Node:
    return {
        "issuer": issuer,
        "audiences": [AUDIENCE],
        "subjects": {"safe_regex": {"regex": subject}},
        "require_expiration": True,
        "clock_skew_seconds": policy.clock_skew_seconds,
        # Named, because by default a token in the query string, which logs keep, is taken too.
        "from_headers": [{"name": "Authorization", "value_prefix": "Bearer "}],
    }


def _any(*providers: str, optional: bool = False) -> Node:
    """Returns a requirement that one of the providers meets; `optional` lets a missing token pass, never a bad one."""
    choices: list[Node] = [{"provider_name": name} for name in providers]
    if optional:
        choices.append({"allow_missing": {}})
    return choices[0] if len(choices) == 1 else {"requires_any": {"requirements": choices}}


def _filter(providers: dict[str, Node], requirements: dict[str, Node]) -> Node:
    return extension(
        JWT,
        "extensions.filters.http.jwt_authn.v3.JwtAuthentication",
        providers=providers,
        requirement_map=requirements,
        # A route that forgot to say what it requires asks for a token.
        rules=[{"match": {"prefix": "/"}, "requirement_name": CALLER}],
    )
