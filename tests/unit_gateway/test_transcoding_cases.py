"""What other transcoders do: every case of the tiers that must pass, and our verdict on the disputed ones."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.scanner import TemplateError
from services.mesh import ROOT
from tests.unit_gateway.case_runners import Case, NotCovered, run

CASES = ROOT.parent / "shared" / "transcoding_cases.json"
MUST_PASS = ("core", "core-with-options", "security", "strictness", "robustness")

CONTRADICTED = {
    "client_encode-0660": "`*` after `**`: clients can write it, but template_parse-0258 and -0259 refuse the rule",
}
"""Cases that must pass and cannot, since others that must pass say the opposite."""

DIFFERENT = {
    "match-0108": "`+` in a query is a space (rule 9), as browsers and Go, .NET and Java write it",
    "request-0604": "`+` in a query is a space (rule 9)",
    "match-0138": "`**` matches zero segments (rule 2)",
    "match-0148": "`**` matches zero segments (rule 2)",
    "match-0145": "http.proto forbids nested variables",
    "match-0147": "http.proto forbids nested variables",
    "match-0152": "of the escapes only slashes stay as written (rule 1): `%2A` is `*`",
    "match-0153": "http.proto forbids nested variables",
    "template_parse-0355": "http.proto forbids nested variables",
    "template_parse-0388": "http.proto forbids nested variables",
    "template_parse-0389": "http.proto forbids nested variables",
    "template_parse-0372": "`**` may stand in the middle (rule 2)",
    "template_parse-0391": "a verb is one literal: `:` inside would make `last colon` ambiguous",
    "template_parse-0392": "an empty verb is a slip",
    "template_parse-0393": "`:` in a literal would read as a verb",
    "match-0227": "a verb is one literal",
    "param_value-0480": "quotes belong to the string: a query is text, not JSON",
    "param_value-0484": "`null` is no enum value",
    "query-0528": "a duration is ProtoJSON's `46800s`",
    **dict.fromkeys((f"query-0{number}" for number in range(544, 549)), "maps are set in a body, not in a query"),
    **dict.fromkeys((f"query-0{number}" for number in range(549, 556)), "JSON in a query is set in a body instead"),
}
"""Cases of the tiers `disputed` and `extension` where we decide otherwise, and why. All others of them hold."""


def _cases() -> Iterator[Any]:
    if CASES.exists():
        for case in json.loads(CASES.read_text()):
            yield pytest.param(case, id=case["id"])


pytestmark = pytest.mark.skipif(not CASES.exists(), reason="the collection of cases is not beside the repository")


@pytest.mark.parametrize("case", list(_cases()))
def test_case_holds_or_is_decided_otherwise_with_a_reason(case: Case) -> None:
    differs = DIFFERENT.get(case["id"]) if case["tier"] in ("disputed", "extension") else None
    if case["tier"] == "quirk_do_not_copy" or differs or case["id"] in CONTRADICTED:
        with pytest.raises((AssertionError, NotCovered, TemplateError)):
            run(case)
        return
    run(case)


def test_the_one_case_that_must_pass_and_does_not_is_contradicted_by_two_that_do() -> None:
    cases = {case["id"]: case for case in json.loads(CASES.read_text()) if case["tier"] in MUST_PASS}
    assert len(cases) == 683
    assert CONTRADICTED.keys() & cases.keys() == {"client_encode-0660"}
    for name in ("template_parse-0258", "template_parse-0259"):
        run(cases[name])


def test_only_disputed_cases_and_extensions_may_be_decided_otherwise() -> None:
    tiers = {case["id"]: case["tier"] for case in json.loads(CASES.read_text())}
    assert {tiers[name] for name in DIFFERENT} <= {"disputed", "extension"}
