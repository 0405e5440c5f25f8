"""A slice of the differential fuzzer: new rules and requests each day, the same all day so that a failure repeats."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from gateway.router import RouterOptions
from gateway.settings import Settings
from tests.gateway_fuzz.compare import Difference, Outcome, Rule, fuzz
from tests.gateway_fuzz.explain import explain
from tests.gateway_fuzz.generate import Request


async def test_every_difference_to_envoys_transcoder_is_one_of_our_rules() -> None:
    seed = datetime.now(UTC).toordinal()
    result = await fuzz(seed, 400, explain, per_set=200)
    assert not result.unexplained, f"seed {seed}: {result.unexplained[:3]}"
    assert result.taken > 40, "hardly a request gets through: the generator has gone astray"


@pytest.mark.parametrize(
    "broken",
    [
        Settings(int64="number"),
        Settings(router=RouterOptions(unescape="all")),
        pytest.param(Settings(unknown_parameters="ignore"), marks=pytest.mark.long),
        pytest.param(Settings(max_json_depth=1), marks=pytest.mark.long),
    ],
    ids=["int64 as a number", "%2F decoded", "unknown parameters ignored", "nested JSON refused"],
)
async def test_planted_defect_is_found(broken: Settings) -> None:
    """The controls: each setting makes the gateway wrong by our rules in one way."""
    pairs = 800 if broken.max_json_depth == 1 else 200  # few of the generated bodies are nested
    result = await fuzz(1, pairs, explain, per_set=200, settings=broken)
    assert result.unexplained


def test_difference_that_no_rule_accounts_for_is_a_failure() -> None:
    """The control: another value, another answer, another rpc, a request that only one of them takes."""
    request, rule = Request("GET", "/books?string_value=a", b""), Rule("/books", "", (), None)
    taken = Outcome(200, "Call1", b"B\x01a", '{"stringValue":"a"}')
    refused = [
        Outcome(400, told=f'{{"code":3,"details":[{{"reason":"{reason}"}}]}}')
        for reason in ("BAD_ESCAPE", "INVALID_FIELD", "UNKNOWN_FIELD", "FIELD_SET_TWICE", "UNEXPECTED_BODY")
    ]
    for ours, theirs in (
        (taken, replace(taken, message=b"B\x01b")),
        (taken, replace(taken, told='{"stringValue":"b"}')),
        (taken, replace(taken, rpc="Call2")),
        (taken, Outcome(404, told="not found")),
        *((answer, taken) for answer in refused),
        (Outcome(500, told='{"code":13,"details":[{"reason":"INTERNAL"}]}'), taken),
    ):
        assert explain(Difference(request, ours, theirs, rule)) is None, ours
