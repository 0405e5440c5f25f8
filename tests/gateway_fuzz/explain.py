"""Which of our rules (`transcoding.md`) makes us differ from Envoy; a difference without one is a defect, of either."""

import json
import re

from tests.gateway_fuzz.compare import Difference

_STRICT = {
    "UNKNOWN_FIELD": "10: a body's unknown fields are refused; Envoy drops them",
    "INVALID_JSON": "10: JSON is strict; Envoy's parser is lenient",
    "FIELD_SET_TWICE": "7: nothing is set twice; Envoy's last one counts",
    "UNEXPECTED_PARAMETER": '10: no query parameters beside `body: "*"`',
    "UNEXPECTED_BODY": "10: no body where the rule has none",
}
"""Why we refuse what Envoy takes, by the reason we give."""
_EMPTY_NESTED = bytes([0xBA, 0x01, 0x00])
"""An empty message in field 23, `nested`."""


def explain(difference: Difference) -> str | None:
    """Returns the rule a difference comes from; None if there is none."""
    ours, theirs = difference.ours, difference.theirs
    if theirs.taken and not ours.taken:
        return _refused_here(difference)
    if ours.taken and not theirs.taken:
        return _refused_there(difference)
    return _read_differently(difference)


def _refused_here(difference: Difference) -> str | None:
    failure = json.loads(difference.ours.told) if difference.ours.told.endswith("}") else {}
    text = difference.ours.told
    reason = failure["details"][0]["reason"] if failure else (re.findall(r'"reason":"([A-Z_]+)"', text) or [""])[0]
    if difference.ours.status != 400:
        return _routed_differently(difference)
    if reason == "INVALID_FIELD":
        if "the body" in text:
            return "10: ProtoJSON as it is specified, in a body"
        return "9: scalars of path and query as ProtoJSON writes them"
    return _STRICT.get(reason)


def _refused_there(difference: Difference) -> str | None:
    told = difference.theirs.told
    if "enum_value" in told or ".Letter" in told:
        return "9: unknown enum numbers pass"
    if re.search(r'invalid value "-?[0-9]+(\.0+|e[0-9]+)" for type TYPE_(S?FIXED|[SU]?INT)', told):
        return "9: a whole number may have a fraction or exponent"
    last = difference.request.target.partition("?")[0].rpartition("/")[2]
    if difference.theirs.status == 404 and ":" in last:
        return "2: the last `:` starts a verb only where that verb is registered"
    return _routed_differently(difference)


def _read_differently(difference: Difference) -> str | None:
    ours, theirs, request = difference.ours, difference.theirs, difference.request
    if ours.rpc != theirs.rpc:
        return _routed_differently(difference)
    if not request.body and theirs.message.replace(_EMPTY_NESTED, b"") == ours.message:
        return "10: an empty body sets nothing; Envoy sets an empty message"
    if re.search(r"fieldmask_value=[A-Z]", request.target):
        return "9: a mask's path is lowerCamelCase"
    return _routed_differently(difference)


def _routed_differently(difference: Difference) -> str | None:
    path = difference.request.target.partition("?")[0]
    if "//" in path or path.endswith("/") or "/:" in path:
        return "2 and 5: empty segments and the trailing slash"
    return None
