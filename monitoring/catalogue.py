"""The catalogue: every metric that our processes show, from the code that makes them."""

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client import REGISTRY

from services.analytics import readings as kpis
from services.runtime import metrics

MODULES = ("services.runtime.metrics", "bridge.metrics", "gateway.metrics")
READ: Mapping[tuple[str, str], tuple[str, ...]] = {
    metrics.OUTBOX_LAST: ("stream",),
    metrics.OUTBOX_ROWS: ("stream",),
    metrics.SAGAS: ("domain", "kind"),
    metrics.TIMERS_DUE_SECONDS: ("domain",),
    metrics.EXPIRY: ("name",),
    kpis.VALUE: ("kpi",),
    kpis.GOAL: ("kpi", "level"),
}
"""Those that are read when somebody asks: name and meaning, and labels."""

_HEAD = """# Numbers

What the processes of the mesh show on `/metrics`. `make catalogue` writes this page from the code, and a test compares
them. Prometheus adds `process` (such as `trading-react`), `service` and `instance`. Labels are names of the map and of
the contracts, so their number is bounded: `route` is a template, never a path; no user, token or address is a label.
Envoy shows its own numbers, described in its documentation; alerts and dashboards use some `envoy_cluster_*` and
`envoy_http_local_rate_limit_*` of them.

| Name | Kind | Labels | Meaning |
|---|---|---|---|
"""


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """One metric."""

    name: str
    """As queries name it, but for a histogram's `_bucket`, `_sum` and `_count`."""
    kind: str
    labels: tuple[str, ...]
    meaning: str


def entries() -> list[Entry]:
    """Returns the whole catalogue, by name."""
    for module in MODULES:
        importlib.import_module(module)
    read = [Entry(name, "gauge", labels, meaning) for (name, meaning), labels in READ.items()]
    return sorted([*_declared(), *read])


def page() -> str:
    """Returns the page."""
    rows = [
        f"| `{one.name}` | {one.kind} | {', '.join(f'`{label}`' for label in one.labels)} | {one.meaning} |"
        for one in entries()
    ]
    return _HEAD + "\n".join(rows) + "\n"


def _declared() -> Iterator[Entry]:
    collectors: Any = REGISTRY._collector_to_names
    for collector in collectors:
        name = getattr(collector, "_name", "")
        if name.startswith("astra_"):
            kind = collector._type
            yield Entry(
                f"{name}_total" if kind == "counter" else name,
                kind,
                tuple(collector._labelnames),
                collector._documentation,
            )
