"""Envoy's spans: exported as those of the processes are, by the same OTEL_* variables. Off without them."""

import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from envoy.notation import Node, duration, extension, socket_address
from services.mesh import is_ip
from services.telemetry.tracing import endpoint, is_wanted

CLUSTER = "otlp"
DEFAULT = "http://127.0.0.1:4317"
_RATIO = {"always_on": 1.0, "always_off": 0.0}


def of_listener(environment: Mapping[str, str] = os.environ) -> Node:
    """Returns what a connection manager is told: where a trace has begun, its decision stands."""
    if not is_wanted(environment):
        return {}
    tracer = extension(
        "envoy.tracers.opentelemetry",
        "config.trace.v3.OpenTelemetryConfig",
        grpc_service={"envoy_grpc": {"cluster_name": CLUSTER}, "timeout": duration(1.0)},
        service_name="envoy",
    )
    return {"tracing": {"provider": tracer, "random_sampling": {"value": 100 * _ratio(environment)}}}


def clusters(environment: Mapping[str, str] = os.environ) -> list[Node]:
    """Returns the cluster that takes the spans, if any are exported."""
    if not is_wanted(environment):
        return []
    url = urlsplit(endpoint(environment) or DEFAULT)
    if url.scheme != "http":
        raise SystemExit(f"{url.geturl()}: Envoy sends its spans in plain text; name an http:// collector beside it")
    host = url.hostname or "127.0.0.1"
    address = socket_address(host, url.port or 4317)
    return [
        {
            "name": CLUSTER,
            "type": "STATIC" if is_ip(host) else "STRICT_DNS",
            "connect_timeout": duration(1.0),
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": {"http2_protocol_options": {}},
                }
            },
            "load_assignment": {
                "cluster_name": CLUSTER,
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
            },
        }
    ]


def _ratio(environment: Mapping[str, str]) -> float:
    sampler = environment.get("OTEL_TRACES_SAMPLER", "parentbased_always_on").removeprefix("parentbased_")
    if sampler == "traceidratio":
        return float(environment.get("OTEL_TRACES_SAMPLER_ARG") or 1)
    return _RATIO.get(sampler, 1.0)
