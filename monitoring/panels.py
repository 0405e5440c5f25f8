"""The panels that dashboards are made of. Each shows queries; a name of a metric is written here and nowhere else."""

from dataclasses import dataclass

from grafana_foundation_sdk.builders import dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.models.dashboard import DataSourceRef

DATASOURCE = DataSourceRef(type_val="prometheus", uid="prometheus")
"""Provisioned under this uid by `monitoring/grafana/provisioning/datasources`."""
HEIGHT = 7
RATE = "[1m]"
"""Over how long rates are taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One question about the mesh, and the queries that answer it."""

    title: str
    queries: dict[str, str]
    """PromQL by legend, in which `{{label}}` stands for a label's value."""
    unit: str = "short"
    """Grafana's name of the unit: `s`, `percentunit`, `ops`, `bytes`, …"""
    number: bool = False
    """Whether only the newest value counts."""
    width: int = 12
    about: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """One dashboard."""

    uid: str
    title: str
    rows: dict[str, list[Panel]]
    per: str = ""
    """A query of label values, such as `label_values(up, service)`, that a variable `$service` chooses from."""

    @property
    def queries(self) -> list[str]:
        return [query for panels in self.rows.values() for panel in panels for query in panel.queries.values()]

    def build(self) -> dashboard.Dashboard:
        """Returns the dashboard of the builder library."""
        built = (
            dashboard.Dashboard(self.title)
            .uid(self.uid)
            .tags(["astra"])
            .refresh("10s")
            .time("now-30m", "now")
            .readonly()
        )
        if self.per:
            variable = dashboard.QueryVariable("service").query(self.per).datasource(DATASOURCE)
            built = built.with_variable(variable.refresh(1))  # type: ignore[arg-type]
        for title, panels in self.rows.items():
            built = built.with_row(dashboard.Row(title))
            for panel in panels:
                built = built.with_panel(_panel(panel))
        return built


def _panel(panel: Panel) -> "stat.Panel | timeseries.Panel":
    built: stat.Panel | timeseries.Panel = stat.Panel() if panel.number else timeseries.Panel()
    built = built.title(panel.title).unit(panel.unit).span(panel.width).height(HEIGHT).datasource(DATASOURCE)
    if panel.about:
        built = built.description(panel.about)
    for legend, query in panel.queries.items():
        built = built.with_target(prometheus.Dataquery().expr(query).legend_format(legend))
    return built


def quantile(part: float, metric: str, by: str = "") -> str:
    """Returns the query of a quantile of a histogram, by these labels."""
    return f"histogram_quantile({part}, sum by ({f'{by}, ' if by else ''}le) (rate({metric}_bucket{RATE})))"
