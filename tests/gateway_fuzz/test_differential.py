"""A slice of the differential fuzzer: new rules and requests each day, the same all day so that a failure repeats."""

from dataclasses import replace
from datetime import UTC, datetime

from tests.gateway_fuzz.compare import Difference, Outcome, fuzz
from tests.gateway_fuzz.explain import explain
from tests.gateway_fuzz.generate import Request


async def test_every_difference_to_envoys_transcoder_is_one_of_our_rules() -> None:
    seed = datetime.now(UTC).toordinal()
    result = await fuzz(seed, 400, explain, per_set=200)
    assert not result.unexplained, f"seed {seed}: {result.unexplained[:3]}"
    assert result.taken > 40, "hardly a request gets through: the generator has gone astray"


def test_difference_that_no_rule_accounts_for_is_a_failure() -> None:
    """The control: another value, another rpc, a request that only one of them takes."""
    request = Request("GET", "/books?string_value=a", b"")
    taken = Outcome(200, "Call1", b"B\x01a")
    refused = Outcome(400, told='{"code":3,"details":[{"reason":"BAD_ESCAPE"}]}')
    for ours, theirs in (
        (taken, replace(taken, message=b"B\x01b")),
        (taken, replace(taken, rpc="Call2")),
        (taken, Outcome(404, told="not found")),
        (refused, taken),
        (Outcome(500, told='{"code":13,"details":[{"reason":"INTERNAL"}]}'), taken),
    ):
        assert explain(Difference(request, ours, theirs, "/books")) is None
