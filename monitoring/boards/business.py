"""Business KPIs: today's, and what users do."""

from monitoring.panels import RATE, Board, Panel

KPIS = Board(
    uid="astra-kpis",
    title="Business KPIs",
    rows={
        "Today": [
            Panel(title="KPIs", queries={"{{kpi}}": "max by (kpi) (astra_kpi_value)"}, number=True, width=24),
            Panel(
                title="Part of the target that is reached",
                queries={
                    "{{kpi}}": 'max by (kpi) (astra_kpi_value) / on (kpi) max by (kpi) (astra_kpi_goal{level="target"})'
                },
                unit="percentunit",
                width=24,
            ),
        ],
        "What users do": [
            Panel(
                title="Trades",
                queries={
                    "{{stream}}": "sum by (stream) (rate(astra_bus_appended_entries_total"
                    f'{{stream=~"astra[.]trading[.]trade_.*"}}{RATE}))',
                },
                unit="ops",
            ),
            Panel(
                title="Events by domain",
                queries={
                    "{{domain}}": "sum by (domain) (label_replace("
                    f'rate(astra_bus_appended_entries_total{RATE}), "domain", "$1", "stream", "astra[.]([a-z]+)[.].*"))'
                },
                unit="ops",
            ),
        ],
    },
)
