"""The KPIs as numbers for Prometheus, each beside where it should be."""

import sqlite3
from collections.abc import Iterator

import structlog
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from services.analytics import store as sql
from services.analytics.model import TARGETS, KpiKind, kpi_values
from services.runtime.store import Store

VALUE = "astra_kpi_value", "A KPI, of the UTC day so far; trades per second of the last minute."
GOAL = "astra_kpi_goal", "Where a KPI should be: its `target`, and below which it is a `warning` or `critical`."

log = structlog.get_logger()


class KpiReadings(Collector):
    """Reads the KPIs when they are asked for."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def describe(self) -> Iterator[GaugeMetricFamily]:
        yield GaugeMetricFamily(*VALUE, labels=["kpi"])
        yield GaugeMetricFamily(*GOAL, labels=["kpi", "level"])

    def collect(self) -> Iterator[GaugeMetricFamily]:
        value, goal = self.describe()
        now_ms = self._store.clock()
        try:
            counts, trades = self._store.read_now(
                lambda db: (sql.day_counts(db, now_ms), sql.recent_trades(db, now_ms))
            )
        except sqlite3.Error as error:
            log.warning("readings.failed", domain=self._store.domain, error=repr(error))
            return
        for kind, number in kpi_values(counts, recent_trades=trades).items():
            value.add_metric([name_of(kind)], float(number))
            target = TARGETS[kind]
            for level, where in (("target", target.target), ("warning", target.warning), ("critical", target.critical)):
                goal.add_metric([name_of(kind), level], float(where))
        yield from (value, goal)


def name_of(kind: KpiKind) -> str:
    return kind.name.lower()
