"""What other transcoders do: which cases hold here, which do not yet, and our verdict on the disputed ones."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from services.mesh import ROOT
from tests.unit_gateway.case_runners import Case, NotCovered, run

CASES = ROOT.parent / "shared" / "transcoding_cases.json"
MUST_PASS = ("core", "core-with-options", "security", "strictness", "robustness")

HTTP_BODY = "google.api.HttpBody comes with a later issue; until then its rpcs are 501"
STREAMS = "streams come with a later issue; until then their rpcs are 501"
NOT_YET = {
    "request-0513": HTTP_BODY,
    "request-0514": HTTP_BODY,
    "request-0612": HTTP_BODY,
    "request-0613": HTTP_BODY,
    "request-0614": HTTP_BODY,
    "request-0624": STREAMS,
    "request-0625": STREAMS,
    "request-0626": STREAMS,
    "request-0627": STREAMS,
    "weave-0645": STREAMS,
}
"""Must-pass cases that do not hold yet. One that starts to hold has to leave this table: the test says so."""

NOT_YET_KINDS = {
    "client_encode": "writing requests as REST is a client's work; no client of ours speaks REST yet",
    "health": "a health service's answer as HTTP; /readyz tells the state of the channel, no service's",
}

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
def test_case_holds_or_is_listed_with_its_reason(case: Case) -> None:
    listed = NOT_YET.get(case["id"]) or NOT_YET_KINDS.get(case["kind"]) if case["tier"] in MUST_PASS else None
    differs = DIFFERENT.get(case["id"]) if case["tier"] in ("disputed", "extension") else None
    if case["tier"] == "quirk_do_not_copy" or listed or differs:
        with pytest.raises((AssertionError, NotCovered)):
            run(case)
        return
    run(case)


def test_lists_name_only_cases_of_their_tiers() -> None:
    tiers = {case["id"]: case["tier"] for case in json.loads(CASES.read_text())}
    assert {tiers[name] for name in NOT_YET} <= set(MUST_PASS)
    assert {tiers[name] for name in DIFFERENT} <= {"disputed", "extension"}
