"""Performance: the promises to users, Envoy, and what the processes use."""

from monitoring.panels import RATE, Board, Panel, quantile

PERFORMANCE = Board(
    uid="astra-performance",
    title="Performance",
    rows={
        "Promises to users": [
            Panel(
                title="Requests that fail",
                queries={"5 minutes": "astra:gateway_errors:ratio5m", "1 hour": "astra:gateway_errors:ratio1h"},
                unit="percentunit",
            ),
            Panel(
                title="Requests slower than promised",
                queries={"over 0.5 s": "astra:gateway_slow:ratio5m", "over 2 s": "astra:gateway_very_slow:ratio5m"},
                unit="percentunit",
            ),
            Panel(
                title="Requests by route",
                queries={"{{route}}": f"sum by (route) (rate(astra_gateway_requests_total{RATE}))"},
                unit="reqps",
            ),
            Panel(
                title="Requests by status",
                queries={"{{status}}": f"sum by (status) (rate(astra_gateway_requests_total{RATE}))"},
                unit="reqps",
            ),
            Panel(
                title="Duration by route, p95",
                queries={"{{route}}": quantile(0.95, "astra_gateway_request_duration_seconds", "route")},
                unit="s",
            ),
            Panel(
                title="Requests in hand",
                queries={"{{process}}": "sum by (process) (astra_gateway_open_requests)"},
            ),
        ],
        "Envoy": [
            Panel(
                title="Calls by status",
                queries={
                    "{{envoy_cluster_name}} {{grpc_code}}": "sum by (envoy_cluster_name, grpc_code)"
                    f" (rate(envoy_cluster_grpc{RATE}))"
                },
                unit="reqps",
            ),
            Panel(
                title="Calls that limits refused",
                queries={
                    "{{envoy_local_http_ratelimit_prefix}}": "sum by (envoy_local_http_ratelimit_prefix)"
                    f" (rate(envoy_http_local_rate_limit_rate_limited{RATE}))",
                    "{{limit}} {{outcome}}": f"sum by (limit, outcome) (rate(astra_limit_hits_total{RATE}))",
                },
                unit="reqps",
            ),
            Panel(
                title="Ejected instances, open breakers",
                queries={
                    "{{envoy_cluster_name}} ejected": "max by (envoy_cluster_name)"
                    " (envoy_cluster_outlier_detection_ejections_active)",
                    "{{envoy_cluster_name}} open": "max by (envoy_cluster_name)"
                    " (envoy_cluster_circuit_breakers_default_rq_open)",
                },
            ),
            Panel(
                title="Healthy instances",
                queries={
                    "{{envoy_cluster_name}}": "max by (envoy_cluster_name) (envoy_cluster_membership_healthy)",
                },
            ),
        ],
        "Processes": [
            Panel(
                title="CPU",
                queries={"{{process}}": f"sum by (process) (rate(process_cpu_seconds_total{RATE}))"},
                unit="percentunit",
            ),
            Panel(
                title="Memory",
                queries={"{{process}}": "max by (process) (process_resident_memory_bytes)"},
                unit="bytes",
            ),
        ],
    },
)
