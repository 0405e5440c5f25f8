"""Makes rules and requests for them: mostly sound ones, with a slip here and there."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from gateway.api import Api, BadDescriptors
from gateway.settings import Settings
from tests.unit_gateway.schema import with_rules

RULES = 24
_LITERALS = ("v1", "books", "shelves", "a", "b")
_PATTERNS = ("{f}", "{f=*}", "{f=books/*}", "{f=a/*/b/*}", "{f=shelves/**}", "{f=**}", "*", "**")
_PATH_FIELDS = ("string_value", "nested.string_value", "optional_value", "int64_value", "bool_value", "bytes_value")
_SEGMENTS = (
    "a", "b", "books", "1", "-7", "true", "Y", "x%20y", "caf%C3%A9", "a%2Fb", "a%3Ab", "a+b", "a:b", "~", "%7E", "YQ",
    "9007199254740993", "a.b", "%25", "01", "1.0", "",
)  # fmt: skip
_QUERY_VALUES = (
    "a", "", "1", "-1", "0", "01", "1.5", "1e3", "true", "false", "TRUE", "Y", "y", "2", "99", "a+b", "a%20b", "%C3%A9",
    "NaN", "Infinity", "9223372036854775807", "9223372036854775808", "4294967296", "YQ%3D%3D", "YQ", "null",
    "2026-01-31T12:00:00Z", "1.5s", "stringValue", "a,b",
)  # fmt: skip
_QUERY_FIELDS = (
    "string_value", "stringValue", "int64_value", "int32Value", "uint32_value", "uint64Value", "bool_value",
    "double_value", "float_value", "bytes_value", "enum_value", "repeated_value", "repeated_enum", "timestamp_value",
    "duration_value", "fieldmask_value", "wrapper_int64_value", "wrapper_string_value", "nested.string_value",
    "nested.nested.int32_value", "nested.enumValue", "optional_value", "oneof_bool_value", "unknown", "nested",
    "map_value", "nested.unknown",
)  # fmt: skip
_JSON_VALUES: tuple[Any, ...] = (
    "a", "", 1, -1, 0, 1.5, "1", "01", "1.0", 1.0, True, False, None, "Y", 1, 99, "NaN", [], {}, "YQ==", "é", 2**53 + 1,
    "9223372036854775808", "2026-01-31T12:00:00Z", "1.5s", ["a", "b"], [1], {"a": "b"}, "stringValue",
)  # fmt: skip
_JSON_FIELDS = (
    "stringValue", "string_value", "int64Value", "int32Value", "uint32Value", "boolValue", "doubleValue", "bytesValue",
    "enumValue", "repeatedValue", "timestampValue", "durationValue", "wrapperInt64Value", "mapValue", "structValue",
    "optionalValue", "oneofBoolValue", "oneofStringValue", "unknown",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    target: str
    """Path and query, as sent."""
    body: bytes


def rules(random: Random) -> bytes:
    """Returns a descriptor set with rules that our gateway takes."""
    made: list[tuple[str, str, dict[str, Any]]] = []
    while len(made) < RULES:
        rule = _rule(random)
        try:
            Api.of(Settings(), with_rules(*made, rule))
        except BadDescriptors:
            continue
        made.append(rule)
    return with_rules(*made)


def _rule(random: Random) -> tuple[str, str, dict[str, Any]]:
    # Mostly strings, which take any segment: else the scalars would refuse most requests.
    fields = sorted(
        _PATH_FIELDS, key=lambda name: random.random() + 0.4 * name.endswith(("string_value", "optional_value"))
    )
    segments = []
    for _ in range(random.randint(1, 4)):
        if random.random() < 0.55:
            segments.append(random.choice(_LITERALS))
        else:
            segments.append(random.choice(_PATTERNS).replace("{f", "{" + fields.pop()))
            if "**" in segments[-1]:
                break
    verb = random.choice(("", "", "", ":read", ":write"))
    method = random.choice(("GET", "GET", "POST", "DELETE", "PATCH"))
    rule: dict[str, Any] = {"path": "/" + "/".join(segments) + verb}
    if method in ("POST", "PATCH"):
        rule["body"] = random.choice(("*", "nested", ""))
    return "Proto3Message", method, rule


def requests(random: Random, described: bytes, count: int) -> Iterator[Request]:
    """Yields requests that mostly fit a rule."""
    routes = [route for route in Api.of(Settings(), described).routes if route.rpc.startswith("/cases.Cases/")]
    for _ in range(count):
        route = random.choice(routes)
        segments: list[str] = []
        for segment in route.template.segments:
            if str(segment) == "**":
                segments += [random.choice(_SEGMENTS) for _ in range(random.randint(0, 3))]
            else:
                segments.append(random.choice(_SEGMENTS) if str(segment) == "*" else str(segment))
        if random.random() < 0.1:
            segments.insert(random.randint(0, len(segments)), random.choice(_SEGMENTS))
        path = "/" + "/".join(segments) + (f":{route.template.verb}" if route.template.verb else "")
        if random.random() < 0.05:
            path += random.choice(("/", ":read", ":x", "//"))
        query: list[str] = []
        if route.body != () or random.random() < 0.1:
            parameters = random.choice((0, 0, 1, 1, 2, 3))
            query += [f"{random.choice(_QUERY_FIELDS)}={random.choice(_QUERY_VALUES)}" for _ in range(parameters)]
        method = route.method if random.random() < 0.95 else random.choice(("GET", "POST", "PUT"))
        body = b""
        if route.body is not None and random.random() < 0.9:
            body = json.dumps(_tree(random, 0), ensure_ascii=random.random() < 0.5).encode()
            if random.random() < 0.03:
                body = body[: random.randint(0, len(body))]
        yield Request(method, path + ("?" + "&".join(query) if query else ""), body)


def _tree(random: Random, depth: int) -> dict[str, Any]:
    tree: dict[str, Any] = {
        random.choice(_JSON_FIELDS): random.choice(_JSON_VALUES) for _ in range(random.choice((0, 1, 1, 2, 3)))
    }
    if depth < 2 and random.random() < 0.3:
        tree["nested"] = _tree(random, depth + 1)
    return tree
