"""Event bus: is it moving, how fast, and what is left."""

from monitoring.panels import RATE, Board, Panel, quantile

EVENT_BUS = Board(
    uid="astra-bus",
    title="Event bus",
    rows={
        "Is it moving": [
            Panel(
                title="Recorded, but not in the streams",
                queries={"{{stream}}": "astra:bus_backlog:entries"},
                about="Stays near 0; grows while the bridge is down or Redis full.",
            ),
            Panel(
                title="Appended",
                queries={"{{stream}}": f"sum by (stream) (rate(astra_bus_appended_entries_total{RATE}))"},
                unit="ops",
            ),
            Panel(
                title="Oldest unfinished event",
                queries={"{{group}} {{stream}}": "max by (group, stream) (astra_bus_group_oldest_unfinished_seconds)"},
                unit="s",
            ),
            Panel(
                title="Applied",
                queries={"{{group}}": f"sum by (group) (rate(astra_bus_consumed_entries_total{RATE}))"},
                unit="ops",
            ),
        ],
        "How fast": [
            Panel(
                title="Commit to append",
                queries={
                    "p50": quantile(0.5, "astra_bus_append_latency_seconds"),
                    "p99": quantile(0.99, "astra_bus_append_latency_seconds"),
                },
                unit="s",
            ),
            Panel(
                title="Commit to effect, p99",
                queries={"{{group}}": quantile(0.99, "astra_bus_effect_latency_seconds", "group")},
                unit="s",
            ),
        ],
        "What is left": [
            Panel(
                title="Waiting for a group",
                queries={"{{group}}": "sum by (group) (astra_bus_group_lag_entries)"},
            ),
            Panel(title="In hand", queries={"{{group}}": "sum by (group) (astra_bus_group_pending_entries)"}),
            Panel(
                title="Dead letters that wait",
                queries={"{{group}} {{stream}}": "max by (group, stream) (astra_bus_dead_letter_entries)"},
            ),
            Panel(
                title="Failed attempts",
                queries={"{{group}}": f"sum by (group) (rate(astra_bus_retried_entries_total{RATE}))"},
                unit="ops",
            ),
        ],
        "Redis": [
            Panel(
                title="Memory",
                queries={"used": 'max(astra_bus_redis_memory_ratio{service="bridge"})'},
                unit="percentunit",
            ),
            Panel(
                title="State",
                queries={
                    "answers": 'max(astra_bus_redis_up{service="bridge"})',
                    "reaches its disk": 'min(astra_bus_redis_persists{service="bridge"})',
                    "appends paused": 'max(astra_bus_paused{service="bridge"})',
                    "streams stopped": "sum(astra_bus_stream_stopped)",
                },
            ),
            Panel(
                title="Sent again, cut and lost",
                queries={
                    "sent again": f"sum(rate(astra_bus_repaired_entries_total{RATE}))",
                    "cut at the cap": f"sum(rate(astra_bus_cut_entries_total{RATE}))",
                    "lost": f"sum(rate(astra_bus_lost_entries_total{RATE}))",
                },
                unit="ops",
            ),
            Panel(
                title="Trimmed and purged",
                queries={
                    "trimmed": f"sum(rate(astra_bus_trimmed_entries_total{RATE}))",
                    "purged": f"sum(rate(astra_bus_purged_rows_total{RATE}))",
                },
                unit="ops",
            ),
        ],
    },
)
