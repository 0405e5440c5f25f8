"""What pages in a browser need of the public listener: gRPC-Web, and answers that other origins' pages may read."""

from envoy.notation import Node, extension, typed
from envoy.policy import Policy
from services.mesh import Mesh

CORS = "envoy.filters.http.cors"

_SENT = ("authorization", "content-type", "grpc-timeout", "x-correlation-id", "x-grpc-web", "x-user-agent")
_READ = (
    *("grpc-status", "grpc-message", "grpc-status-details-bin", "x-correlation-id", "retry-after"),
    *("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"),
)


def filters() -> list[Node]:
    """Returns the filters. A preflight ends in the first: nothing behind it asks for its token or counts it."""
    return [
        extension(CORS, "extensions.filters.http.cors.v3.Cors"),
        extension("envoy.filters.http.grpc_web", "extensions.filters.http.grpc_web.v3.GrpcWeb"),
    ]


def cors_policy(mesh: Mesh, policy: Policy) -> Node:
    """Returns the per-route configuration: the origins of the mesh, none unless it names some."""
    return {
        CORS: typed(
            "extensions.filters.http.cors.v3.CorsPolicy",
            allow_origin_string_match=[{"exact": origin} for origin in mesh.cors_origins],
            allow_methods="POST",
            allow_headers=", ".join(_SENT),
            expose_headers=", ".join(_READ),
            max_age=str(policy.cors_max_age_seconds),
            # Else an OPTIONS of a foreign origin would go on to the services.
            forward_not_matching_preflights=False,
        )
    }
