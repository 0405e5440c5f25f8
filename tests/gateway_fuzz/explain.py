"""Which of our rules (`transcoding.md`) makes us differ from Envoy; a difference without one is a defect, of either.

A refusal is explained only where Google's protobuf, or a plain regular expression, finds the same fault in the request.
"""

import json
import re

from tests.gateway_fuzz import oracle
from tests.gateway_fuzz.compare import Difference, Rule
from tests.gateway_fuzz.generate import Request

_EMPTY_NESTED = bytes([0xBA, 0x01, 0x00])
"""An empty message in field 23, `nested`."""
_WHOLE_NUMBER = re.compile(r'invalid value "-?[0-9]+(\.0+|e[0-9]+)" for type TYPE_(S?FIXED|[SU]?INT)')


def explain(difference: Difference) -> str | None:
    """Returns the rule a difference comes from; None if there is none."""
    ours, theirs = difference.ours, difference.theirs
    if ours.status >= 500:
        return None
    if theirs.taken and not ours.taken:
        return _refused_here(difference)
    if ours.taken and not theirs.taken:
        return _refused_there(difference)
    return _read_differently(difference)


def _refused_here(difference: Difference) -> str | None:
    request, rule = difference.request, difference.rule
    if difference.ours.status != 400 or rule is None:
        return _routed_differently(difference)
    reason = _reason(difference.ours.told)
    faults = oracle.body_faults(request.body) if request.body and rule.body is not None else set()
    query = list(oracle.parameters(request.target))
    if reason == "UNKNOWN_FIELD" and "unknown field" in faults:
        return "10: a body's unknown fields are refused; Envoy drops them"
    if reason == "INVALID_JSON" and "syntax" in faults:
        return "10: JSON is strict; Envoy's parser is lenient"
    if reason == "UNEXPECTED_PARAMETER" and rule.body == "" and query:
        return '10: no query parameters beside `body: "*"`'
    if reason == "UNEXPECTED_BODY" and rule.body is None and request.body:
        return "10: no body where the rule has none"
    if reason == "FIELD_SET_TWICE" and oracle.set_twice(request.target, request.body, rule.body, rule.variables):
        return "7: nothing is set twice; Envoy's last one counts"
    if reason == "INVALID_FIELD" and (wrong := _wrong_values(rule, request, query, faults)):
        return wrong
    # The rule that refused it here may be another than the one that took it there.
    return _routed_differently(difference)


def _wrong_values(rule: Rule, request: Request, query: list[tuple[str, str]], faults: set[str]) -> str | None:
    """Returns the rule by which a value is none."""
    if any(not oracle.is_value(name, value) for name, value in query):
        return "9: a query's values as ProtoJSON writes them"
    if "value" in faults:
        return "10: a body's values as ProtoJSON writes them"
    values = oracle.captured(rule.template, request.target.partition("?")[0])
    if any(not oracle.is_value(name, value) for name, value in values.items()):
        return "9: a path's values as ProtoJSON writes them"
    return None


def _reason(told: str) -> str:
    return str(json.loads(told)["details"][0]["reason"])


def _refused_there(difference: Difference) -> str | None:
    told, rule = difference.theirs.told, difference.rule
    if ("enum_value" in told or ".Letter" in told) and _has_number_of_no_enum(difference):
        return "9: unknown enum numbers pass"
    if _WHOLE_NUMBER.search(told):
        return "9: a whole number may have a fraction or exponent"
    last = difference.request.target.partition("?")[0].rpartition("/")[2]
    if difference.theirs.status == 404 and ":" in last and rule is not None and not rule.verb:
        return "2: the last `:` starts a verb only where that verb is registered"
    return _routed_differently(difference)


def _has_number_of_no_enum(difference: Difference) -> bool:
    """Tells whether the request gives an enum a number: those that generated requests have are 2, 99 and the like."""
    text = difference.request.target + difference.request.body.decode("utf-8", "replace")
    return bool(re.search(r'enum(_v|V)alue"?[=:]\s*\[?-?[0-9]|repeated_enum=-?[0-9]', text))


def _read_differently(difference: Difference) -> str | None:
    ours, theirs, request = difference.ours, difference.theirs, difference.request
    if ours.rpc != theirs.rpc:
        return _routed_differently(difference)
    if ours.message == theirs.message:
        return None  # the answers differ
    if not request.body and theirs.message.replace(_EMPTY_NESTED, b"") == ours.message:
        return "10: an empty body sets nothing; Envoy sets an empty message"
    if re.search(r"fieldmask_value=[A-Z]", request.target) and _same_but_for_the_mask(ours.message, theirs.message):
        return "9: a mask's path is lowerCamelCase"
    return _routed_differently(difference)


def _same_but_for_the_mask(*messages: bytes) -> bool:
    read = [oracle.message_type().FromString(message) for message in messages]
    for message in read:
        message.ClearField("fieldmask_value")
    return bool(read[0] == read[1])


def _routed_differently(difference: Difference) -> str | None:
    path = difference.request.target.partition("?")[0]
    if "//" in path or path.endswith("/") or "/:" in path:
        return "2 and 5: empty segments and the trailing slash"
    return None
