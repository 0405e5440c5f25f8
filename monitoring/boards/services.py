"""Per service: its calls and its database."""

from monitoring.panels import RATE, Board, Panel

SERVICES = Board(
    uid="astra-services",
    title="Per service",
    per="label_values(astra_store_commits_total, service)",
    rows={
        "Calls of $service": [
            Panel(
                title="By rpc",
                queries={
                    "{{rpc_method}}": f'sum by (rpc_method) (rate(astra_rpc_calls_total{{service="$service"}}{RATE}))'
                },
                unit="reqps",
            ),
            Panel(
                title="By status",
                queries={"{{code}}": f'sum by (code) (rate(astra_rpc_calls_total{{service="$service"}}{RATE}))'},
                unit="reqps",
            ),
            Panel(
                title="Duration, p99",
                queries={
                    "{{rpc_method}}": "histogram_quantile(0.99, sum by (rpc_method, le)"
                    f' (rate(astra_rpc_duration_seconds_bucket{{service="$service"}}{RATE})))'
                },
                unit="s",
            ),
            Panel(
                title="Up",
                queries={"{{process}}": 'max by (process) (up{service="$service"})'},
            ),
        ],
        "The database of $service": [
            Panel(
                title="Commits",
                queries={
                    "committed": f'sum(rate(astra_store_commits_total{{service="$service"}}{RATE}))',
                    "commands": f'sum(rate(astra_store_commit_works_sum{{service="$service"}}{RATE}))',
                },
                unit="ops",
            ),
            Panel(
                title="Duration of a commit, p99",
                queries={
                    "p99": "histogram_quantile(0.99, sum by (le)"
                    f' (rate(astra_store_commit_duration_seconds_bucket{{service="$service"}}{RATE})))'
                },
                unit="s",
            ),
            Panel(
                title="Rows of the outbox",
                queries={"{{stream}}": 'max by (stream) (astra_outbox_rows{service="$service"})'},
            ),
            Panel(
                title="Overdue timers",
                queries={"{{domain}}": 'max by (domain) (astra_timer_overdue_seconds{service="$service"})'},
                unit="s",
            ),
        ],
    },
)
