"""Which metrics a query asks for, and all queries that are written anywhere in `monitoring/`."""

import re
from collections.abc import Iterator
from typing import Any

import yaml

from monitoring.boards import BOARDS
from services.mesh import ROOT

ALERTS = ROOT / "monitoring" / "alerts"

_METRIC = re.compile(r"\b(?:(?:astra|envoy|process)[_:][\w:]+|up)\b(?=\{|\[|\s|\)|$)")
_LABELS = re.compile(r"\b(?:by|on|ignoring|group_left|without)\s*\([^)]*\)|\"[^\"]*\"|\{[^}]*\}")


def metrics_of(query: str) -> set[str]:
    """Returns the names of metrics in a query, without those of labels."""
    return set(_METRIC.findall(_LABELS.sub(" ", query)))


def rules() -> Iterator[dict[str, Any]]:
    """Yields every rule of the alert files, recordings included."""
    for path in sorted(ALERTS.glob("*.yml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            yield from group["rules"]


def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def queries() -> dict[str, str]:
    """Returns every query by where it stands."""
    found = {f"rule {rule.get('alert') or rule['record']}": rule["expr"] for rule in rules()}
    for board in BOARDS:
        for row, panels in board.rows.items():
            for panel in panels:
                for legend, query in panel.queries.items():
                    found[f"{board.title}, {row}, {panel.title}, {legend}"] = query
    return found
