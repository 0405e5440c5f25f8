"""What a request may say, and what it is told when it says something else."""

import json
from typing import Any

import grpc
import pytest

from gateway.__main__ import DESCRIPTORS
from gateway.api import BadDescriptors, registry_of
from gateway.binding import Binder
from gateway.outcome import Outcomes
from gateway.parameters import AnswerOptions, answer_options
from gateway.refusal import Refused
from gateway.rendering import Renderer
from gateway.routes import BadRule, router_of, routes_of
from gateway.settings import Settings
from tests.unit_gateway.schema import bind, compiled, find, with_rules

READ = with_rules(("Proto3Message", "GET", {"path": "/x/{string_value}"}))
WRITE = with_rules(("Proto3Message", "POST", {"path": "/x/{nested.string_value}", "body": "*"}))
PART = with_rules(("OnShelf", "PATCH", {"path": "/shelves/{shelf}/books/{book.id}", "body": "book"}))
ONE_OF = with_rules(("Proto3Message", "POST", {"path": "/x/{oneof_string_value}", "body": "*"}))


def _refused(described: bytes, method: str, path: str, query: str = "", body: bytes = b"", **settings: Any) -> Any:
    with pytest.raises(Refused) as refused:
        bind(described, method, path, query, body, settings=Settings(**settings))
    assert refused.value.failure.http_status == 400
    return refused.value.failure


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("nope=1", "UNKNOWN_PARAMETER"),
        ("STRING_VALUE=1", "UNKNOWN_PARAMETER"),  # names are case-sensitive
        ("string_value=y", "FIELD_SET_TWICE"),  # the path sets it,
        ("stringValue=y", "FIELD_SET_TWICE"),  # under any name
        ("int32_value=1&int32Value=1", "FIELD_SET_TWICE"),
        ("oneof_bool_value=true&oneof_string_value=a", "FIELD_SET_TWICE"),
        ("int32_value=1_0", "INVALID_FIELD"),  # int() would take these
        ("int32_value=%2B1", "INVALID_FIELD"),
        ("int32_value=%EF%BC%91", "INVALID_FIELD"),
        ("int32_value=01", "INVALID_FIELD"),
        ("int32_value=", "INVALID_FIELD"),
        ("int32_value=2147483648", "INVALID_FIELD"),
        ("bool_value=True", "INVALID_FIELD"),
        ("double_value=nan", "INVALID_FIELD"),
        ("enum_value=W", "INVALID_FIELD"),
        ("bytes_value=***", "INVALID_FIELD"),
        ("timestamp_value.seconds=1", "UNKNOWN_PARAMETER"),  # written as one string
        ("nested=1", "INVALID_FIELD"),
        ("map_value=1", "INVALID_FIELD"),
        ("double_value=%zz", "BAD_ESCAPE"),
        ("double_value=%ff", "BAD_ESCAPE"),
        ("alt=proto", "INVALID_PARAMETER"),
        ("$alt=json;defaults=some", "INVALID_PARAMETER"),
        (".".join(["nested"] * 40) + ".int32_value=1", "UNKNOWN_PARAMETER"),
    ],
)
def test_query_is_refused_with_its_reason(query: str, reason: str) -> None:
    assert _refused(READ, "GET", "/x/a", query).details[0]["reason"] == reason


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("enum_value=77", {"enumValue": 77}),  # unknown numbers pass
        ("double_value=1e3&key=secret&fields=a&prettyPrint=true", {"doubleValue": 1000}),
        ("optionalValue=", {"optionalValue": ""}),
        ("string_value2=1&int64_value=9223372036854775807", {"int64Value": "9223372036854775807"}),
        ("fieldmask_value=a,b_c.dE", {"fieldmaskValue": "a,bC.dE"}),
        ("timestamp_value=2026-01-01T00:00:00%2B01:00", {"timestampValue": "2025-12-31T23:00:00Z"}),
        ("&&bool_value=true&", {"boolValue": True}),
    ],
)
def test_query_sets_fields(query: str, wanted: dict[str, Any]) -> None:
    message = bind(READ, "GET", "/x/a", query, settings=Settings(unknown_parameters="ignore"))
    assert json.loads(message.to_json()) == {"stringValue": "a", **wanted}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"int32Value": 1', "byte 16"),
        ('{"stringValue": "é",}'.encode(), "byte 21"),  # bytes, not characters
        (b'{"stringValue": "\xff"}', "byte 17: no UTF-8"),
        (b'{"int32Value": 1} x', "byte 18"),
        (b"\xef\xbb\xbf{}", "byte 0"),
        (b'{"doubleValue": NaN}', 'the string "NaN"'),
        (b'{"doubleValue": 1e999}', "too large"),
        (b'{"nested": {"int32Value": 1, "int32Value": 2}}', "'nested.int32Value' stands twice"),
        (b'{"int32_value": 1, "int32Value": 2}', "'int32Value', byte 19"),
        (b'{"nested": {"nope": 1}}', "'nested.nope', byte 12"),
        (b'{"repeatedMessage": ["1", "x"]}', "'repeatedMessage[1]', byte 26: 'x' is no number"),
        (b'{"int64Value": "1_0"}', "'int64Value', byte 15: '1_0' is no number"),
        (b'{"nested": {"enumValue": "W"}}', "'nested.enumValue', byte 25: expected one of X, Y, Z"),
        (b'{"mapValue": {"a": "b", "c": 1}}', "'mapValue.c', byte 29: expected string, got a number"),
        (b'{"int32Value": 2147483648}', "'int32Value', byte 15"),
        (b'{"stringValue": "\\ud800"}', "half of a surrogate pair"),
        (b"[]", "expected an object"),
        (b"null", "expected an object"),
        (b'{"structValue": ' + b'{"a":' * 64 + b"1" + b"}" * 65, "deeper than 64"),
        (b'{"doubleValue": 1' + b"0" * 400 + b"}", "more than 400"),
        (b'{"int64Value": "' + b"9" * 401 + b'"}', "'int64Value', byte 15"),
    ],
)
def test_body_is_refused_with_its_place(body: bytes, told: str) -> None:
    failure = _refused(WRITE, "POST", "/x/a", "", body)
    assert told in failure.message


def test_hostile_bodies_are_refused_in_linear_time() -> None:
    for body in (b'"' + b'\\"' * 300_000, b"[" * 600_000, b'{"a":' * 150_000, b"9" * 600_000, b'["' * 200_000):
        _refused(WRITE, "POST", "/x/a", "", body)


def test_body_keeps_every_digit_of_an_int64() -> None:
    for text in ("9223372036854775807", '"9223372036854775807"', "9223372036854775807.0"):
        assert bind(WRITE, "POST", "/x/a", "", b'{"int64Value": %s}' % text.encode()).int64_value == 2**63 - 1


@pytest.mark.parametrize("body", [{"nested": {"stringValue": "b"}}, {"nested": {"string_value": "a"}}])
def test_body_may_not_set_what_the_path_sets(body: Any) -> None:
    assert _refused(WRITE, "POST", "/x/a", "", json.dumps(body).encode()).details[0]["reason"] == "FIELD_SET_TWICE"


def test_body_may_not_set_a_oneof_sibling_of_what_the_path_sets() -> None:
    assert _refused(ONE_OF, "POST", "/x/a", "", b'{"oneofBoolValue": false}').details[0]["reason"] == "FIELD_SET_TWICE"


def test_query_beside_a_whole_body_is_refused() -> None:
    assert _refused(WRITE, "POST", "/x/a", "int32_value=1", b"{}").details[0]["reason"] == "UNEXPECTED_PARAMETER"
    assert bind(WRITE, "POST", "/x/a", "$alt=json", b"{}").nested.string_value == "a"


def test_body_without_a_rule_for_it_is_refused() -> None:
    assert _refused(READ, "GET", "/x/a", "", b"{}").details[0]["reason"] == "UNEXPECTED_BODY"


def test_path_fills_a_message_that_the_body_fills_too() -> None:
    message = bind(PART, "PATCH", "/shelves/1/books/2", "book.title=t", b'{"author": "x"}')
    assert json.loads(message.to_json()) == {"shelf": "1", "book": {"id": "2", "author": "x", "title": "t"}}


def test_idempotency_key_fills_an_empty_request_id() -> None:
    described = with_rules(("CreateVolume", "POST", {"path": "/books", "body": "*"}))
    registry, match = find(described, "POST", "/books", Settings())
    binder = Binder(Settings(), registry)
    assert binder.bind(match, "", b"{}", request_id="k").message.request_id == "k"
    assert binder.bind(match, "", b'{"requestId": "mine"}', request_id="k").message.request_id == "mine"


@pytest.mark.parametrize(
    ("query", "mask"),
    [("", ["parent", "title"]), ("update_mask=author", ["author"]), ("update_mask=", ["parent", "title"])],
)
def test_empty_mask_of_a_patch_is_made_from_the_body(query: str, mask: list[str]) -> None:
    described = with_rules(("UpdateVolume", "PATCH", {"path": "/{book.name=books/*}", "body": "book"}))
    message = bind(described, "PATCH", "/books/1", query, b'{"title": "t", "parent": null}')
    assert (message.update_mask.paths, message.book.name) == (mask, "books/1")


def test_routes_of_the_mesh_itself_are_sound() -> None:
    routes = list(routes_of(registry_of(DESCRIPTORS.read_bytes())))
    assert routes
    router_of(routes, Settings().router)


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ({"path": "/{repeated_value}"}, "repeated"),
        ({"path": "/{nested}"}, "a message or map"),
        ({"path": "/{map_value}"}, "a message or map"),
        ({"path": "/{nope}"}, "no field 'nope'"),
        ({"path": "/x", "body": "nope"}, "no field 'nope'"),
        ({"path": "/x", "response_body": "nope"}, "no field 'nope'"),
        ({"path": "/{string_value}", "body": "string_value"}, "both set"),
    ],
)
def test_broken_rule_is_refused_at_start(rule: dict[str, Any], told: str) -> None:
    with pytest.raises(BadRule, match=told):
        list(routes_of(registry_of(with_rules(("Proto3Message", "POST", rule)))))


def test_bytes_that_are_no_descriptor_set_are_refused() -> None:
    with pytest.raises(BadDescriptors):
        registry_of(b"\xff\xff nothing")


@pytest.mark.parametrize(
    ("alt", "changed"),
    [
        ("json", {}),
        ("json;enum-encoding=int", {"enumValue": 1}),
        ("json;int64=number", {"int64Value": 9007199254740993, "uint64Value": 5}),
        ("json;int64=number-if-safe", {"uint64Value": 5}),
    ],
)
def test_answer_has_the_asked_form(alt: str, changed: dict[str, Any]) -> None:
    registry, match = find(READ, "GET", "/x/a", Settings())
    plain = {"int64Value": "9007199254740993", "uint64Value": "5", "enumValue": "Y", "nested": {}}
    reply = match.target.response.type.from_json(json.dumps(plain))
    options = answer_options("$alt", alt, AnswerOptions())
    shown = json.loads(Renderer(Settings(), registry).render(match.target, reply, options))
    assert shown == {**plain, **changed}


def test_defaults_are_written_as_asked() -> None:
    registry, match = find(READ, "GET", "/x/a", Settings())
    reply = match.target.response.type.from_json('{"structValueValue": [], "nested": {}}')
    none, scalars, everything = (
        json.loads(Renderer(Settings(defaults=how), registry).render(match.target, reply, AnswerOptions()))
        for how in ("none", "scalars", "all")
    )
    assert none == {"structValueValue": [], "nested": {}}
    assert scalars["structValueValue"] == []
    assert scalars["int64Value"] == "0"
    assert "repeatedValue" not in scalars
    assert (everything["repeatedValue"], everything["mapValue"], everything["nested"]["boolValue"]) == ([], {}, False)
    assert "optionalValue" not in everything


@pytest.mark.parametrize(
    ("shown", "reply", "wanted"),
    [
        ("nested", "{}", {}),
        ("nested", '{"nested": {"int64Value": "1"}}', {"int64Value": "1"}),
        ("repeated_value", "{}", []),
        ("map_value", "{}", {}),
        ("int64_value", "{}", "0"),
        ("wrapper_bool_value", "{}", None),
        ("wrapper_bool_value", '{"wrapperBoolValue": false}', False),
    ],
)
def test_response_body_shows_one_field(shown: str, reply: str, wanted: Any) -> None:
    described = with_rules(("Proto3Message", "GET", {"path": "/x", "response_body": shown}))
    registry, match = find(described, "GET", "/x", Settings())
    message = match.target.response.type.from_json(reply)
    assert json.loads(Renderer(Settings(), registry).render(match.target, message, AnswerOptions())) == wanted


def test_details_that_cannot_be_decoded_are_kept() -> None:
    registry = registry_of(compiled())
    failure = Outcomes(Settings(), registry).failure(
        grpc.StatusCode.ABORTED, "x", {"grpc-status-details-bin": b"\xff\xff"}
    )
    assert failure.details[0]["value"] == "//8="


@pytest.mark.parametrize("number", ["9007199254740993", "-2147483649", "99999999999999999999999999"])
def test_number_that_no_enum_can_have_is_refused_with_its_field(number: str) -> None:
    described = with_rules(("Proto3Message", "POST", {"path": "/x/{enum_value}", "body": "nested"}))
    for path, body in ((f"/x/{number}", b""), ("/x/1", b'{"enumValue": %b}' % number.encode())):
        with pytest.raises(Refused) as refused:
            bind(described, "POST", path, "", body)
        assert "enum" in refused.value.failure.message
