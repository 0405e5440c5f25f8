"""Alerts, dashboards, runbook and catalogue fit each other and the code."""

import json
import re

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from monitoring.__main__ import CATALOGUE
from monitoring.boards import BOARDS
from monitoring.catalogue import entries, page
from monitoring.panels import Board
from services.mesh import ROOT
from tests.unit_monitoring.queries import alerts, metrics_of, queries, rules

MONITORING = ROOT / "monitoring"
RUNBOOK = ROOT / "docs" / "runbook.md"

OURS = {
    name
    for entry in entries()
    for name in (entry.name, *(f"{entry.name}_{part}" for part in ("bucket", "count", "sum")))
}


def unknown(asked: dict[str, str]) -> set[str]:
    """Returns which of our metrics are asked for and shown by nobody."""
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    names = {name for query in asked.values() for name in metrics_of(query)}
    return {name for name in names if name.startswith("astra") and name not in OURS | recorded}


def test_the_catalogue_is_what_the_code_shows() -> None:
    assert CATALOGUE.read_text() == page(), "renew it: `make catalogue`"


def test_every_metric_that_is_asked_for_exists() -> None:
    assert unknown(queries()) == set()


def test_a_renamed_metric_is_caught_by_name() -> None:
    """The control."""
    planted = {**queries(), "planted": "sum by (stream) (rate(astra_bus_appended_total[1m])) / on (stream) up"}
    assert unknown(planted) == {"astra_bus_appended_total"}


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("sum by (stream) (rate(astra_a_total[1m]))", {"astra_a_total"}),
        ('up{job="astra"} == 0', {"up"}),
        ("astra:x:ratio5m > 14.4 * 0.001 and astra_b", {"astra:x:ratio5m", "astra_b"}),
        ('label_replace(rate(envoy_c[5m]), "limit", "$1", "envoy_local", "(.*)")', {"envoy_c"}),
        ("a / on (envoy_cluster_name) astra_d", {"astra_d"}),
    ],
)
def test_names_are_found_in_queries(query: str, names: set[str]) -> None:
    assert metrics_of(query) == names


def test_no_label_can_grow_without_bound() -> None:
    labels = {label for entry in entries() for label in entry.labels}
    assert labels == {
        *("code", "domain", "group", "kind", "kpi", "level", "limit", "name", "outcome", "route", "rpc_method"),
        *("rpc_service", "service", "state", "status", "stream"),
    }


def test_each_alert_has_a_severity_and_its_paragraph_in_the_runbook() -> None:
    paragraphs = dict(re.findall(r"^## (\w+)\n(.+?)(?=\n\n|\Z)", RUNBOOK.read_text(), re.MULTILINE | re.DOTALL))
    assert paragraphs.keys() == alerts().keys()
    assert min(len(paragraph) for paragraph in paragraphs.values()) > 40
    for name, alert in alerts().items():
        assert alert["labels"]["severity"] in {"critical", "warning", "info"}
        assert alert["annotations"]["runbook_url"] == f"docs/runbook.md#{name.lower()}"
        assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}


def test_each_alert_has_a_case_that_fires_and_one_that_is_silent() -> None:
    cases = [
        case for path in (MONITORING / "tests").glob("*.yml") for case in yaml.safe_load(path.read_text())["tests"]
    ]
    assert {case["name"] for case in cases} == {
        f"{name} {word}" for name in alerts() for word in ("fires", "is silent")
    }
    for case in cases:
        (asked,) = case["promql_expr_test"]
        assert case["name"].split()[0] in asked["expr"]
        assert bool(asked["exp_samples"]) == case["name"].endswith("fires")


def test_alertmanager_is_told_of_alerts_that_exist() -> None:
    example = yaml.safe_load((MONITORING / "alertmanager.yml").read_text())
    receivers = {receiver["name"] for receiver in example["receivers"]}
    used = {example["route"]["receiver"], *(route["receiver"] for route in example["route"]["routes"])}
    assert used == receivers
    assert example["route"]["group_by"]
    for rule in example["inhibit_rules"]:
        for matcher in rule["source_matchers"] + rule["target_matchers"]:
            ((label, value),) = re.findall(r'^(\w+) =~? "(.+)"$', matcher)
            known = alerts().keys() if label == "alertname" else {"critical", "warning", "info"}
            assert set(value.split("|")) <= known, matcher


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_a_dashboard_is_what_grafana_takes(board: Board) -> None:
    made = json.loads(JSONEncoder().encode(board.build().build()))
    panels = [panel for panel in made["panels"] if panel["type"] != "row"]
    assert made["uid"]
    assert all(panel["targets"] and panel["datasource"]["uid"] == "prometheus" for panel in panels)
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(places), "no panel hides another"


def test_titles_are_those_of_the_issue() -> None:
    assert [board.title for board in BOARDS] == ["Event bus", "Business KPIs", "Performance", "Per service"]
