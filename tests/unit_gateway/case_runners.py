"""Runs one transcoding case of each kind against the parts of the gateway; a runner raises when it does not hold."""

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import grpc
from protobuf import DescMessage, Registry

from gateway.binding import Binder
from gateway.content import Content
from gateway.health import http_status as health_http_status
from gateway.json_text import elements
from gateway.masks import NoMask, mask_of
from gateway.outcome import Outcomes
from gateway.parameters import AnswerOptions, pairs
from gateway.parser import Template, Variable, parse
from gateway.refusal import HTTP_STATUS, Refused
from gateway.rendering import Renderer
from gateway.router import RouteClash, Router, RouterOptions, UnknownMethod, UnknownPath
from gateway.scanner import TemplateError
from gateway.settings import Settings
from tests.unit_gateway.case_clients import client_encodes
from tests.unit_gateway.case_wire import is_for_the_wire, run_on_the_wire
from tests.unit_gateway.compliance import bound_by_client
from tests.unit_gateway.schema import bind, compiled, find, registry_of, with_rules

Case = Mapping[str, Any]
_UNESCAPE = {
    "UrlUnescapeSpec::kAllCharacters": "all",
    "UrlUnescapeSpec::kAllCharactersExceptSlash": "all-but-slash",
    "UrlUnescapeSpec::kAllCharactersExceptReserved": "all-but-reserved",
}


class NotCovered(AssertionError):
    """The gateway has nothing that the case speaks of."""


def run(case: Case) -> None:
    runner = RUNNERS.get(case["kind"])
    if runner is None:
        raise NotCovered(case["kind"])
    runner(case)


def _match(case: Case) -> None:
    options = case.get("options", {})
    router: Router[str] = Router(
        RouterOptions(
            unescape=_UNESCAPE[options.get("UrlUnescapeSpec", "UrlUnescapeSpec::kAllCharactersExceptSlash")],  # type: ignore[arg-type]
            unregistered_verb="refuse" if options.get("MatchUnregisteredCustomVerb") else "value",
        )
    )
    path = case["path"]
    if generated := case.get("path_gen"):
        path = generated["prefix"] + generated["repeat"] * generated["n"] + generated["suffix"]
    try:
        for rule in case["templates"]:
            router.add(rule["method"], _parsed(rule["template"]), rule["template"])
        match = router.find(case["method"], path)
    except (RouteClash, UnknownPath, UnknownMethod):
        assert case["expect"] == "no-match"
        return
    assert match.target == case["template"]
    system = set(options.get("system_params", ()))
    if "unknown query parameter" in case.get("note", ""):
        system.add("foo")
    query = [[name, value] for name, value in pairs(case["query"]) if name not in system]
    if case["tier"] == "security":
        _security(case)
    elif case["expect"]["bindings"] != "unchecked":
        assert [list(pair) for pair in match.values] + query == case["expect"]["bindings"]


def _security(case: Case) -> None:
    """A query may not set what the path sets, under any name: stricter than the case, which would ignore it."""
    described = with_rules(("Echoed", case["method"], {"path": case["template"]}))
    assert not isinstance(_bound(described, case["method"], case["path"]), int)
    assert _bound(described, case["method"], case["path"], case["query"]) == 400


def _parsed(text: str) -> Template:
    try:
        return parse(text)
    except TemplateError as error:
        raise AssertionError(str(error)) from None


def _template(case: Case) -> None:
    try:
        template = parse(case["template"])
    except TemplateError:
        assert not case["valid"]
        return
    assert case["valid"]
    expect = case.get("expect", {})
    assert [str(segment) for segment in template.segments] == expect.get("segments", list(map(str, template.segments)))
    canonical = quote(template.verb.encode("utf-8", "surrogateescape"), safe="")
    assert canonical == expect.get("verb", canonical)
    for variable, wanted in zip(template.variables, expect.get("variables", ()), strict="variables" in expect):
        assert variable.field_path == wanted["field"]
        assert (variable.start, _end(variable)) == (wanted["start"], wanted["end"])


def _end(variable: Variable) -> int:
    """Returns the end as the cases write it: -1 for the end of the path, -2 for one segment before it, …"""
    if variable.end is None:
        return -1
    return variable.end if variable.end > 0 else variable.end - 1


def _parameter(case: Case) -> None:
    if initial := case.get("initial"):
        query = "&".join(f"{name}={value}" for name, values in initial.items() for value in values) + "&"
    else:
        query = ""
    _query({**case, "query": f"{query}{quote(case['field'])}={quote(case['value'], safe='')}"})


def _query(case: Case) -> None:
    request = case["message"].rpartition(".")[2]
    _expect_message(case, with_rules((request, "GET", {"path": "/x"})), "GET", "/x", case["query"], wanted="json")


def _weave(case: Case) -> None:
    if case["streaming"]:
        _weave_stream(case)
        return
    rule: dict[str, Any] = {"path": "/x"}
    if case["body"]:
        rule["body"] = case["body_prefix"] or "*"
    query = "&".join(f"{name}={quote(value)}" for name, value in case["bindings"])
    described = with_rules(("Woven", "POST", rule))
    _expect_message({**case, "expect_http_status": 400}, described, "POST", "/x", query, wanted="")


def _weave_stream(case: Case) -> None:
    query = "&".join(f"{name}={quote(value)}" for name, value in case["bindings"])
    described = with_rules(("Woven", "POST", {"path": "/x", "body": case["body_prefix"] or "*"}), streaming="client")
    registry, match = find(described, "POST", "/x", Settings())
    binder = Binder(Settings(), registry)
    limits = {"max_depth": Settings().max_json_depth, "max_number_characters": Settings().max_number_characters}
    (_, first), *rest = elements(case["body"].encode(), **limits)
    messages = [binder.bind(match, query, Content(first)).message]
    messages += [binder.part(match.target, Content(body, start=start)) for start, body in rest]
    wanted = [type(messages[0]).from_json(json.dumps(message)) for message in case["expect"]]
    assert [message.to_binary() for message in messages] == [message.to_binary() for message in wanted]


def _health(case: Case) -> None:
    code = next(code for code in grpc.StatusCode if code.value[0] == case["grpc_status"])
    assert health_http_status(code, case["serving_status"]) == case["http"]


def _request(case: Case) -> None:
    if is_for_the_wire(case):
        run_on_the_wire(case)
        return
    rule = {"path": case["template"], "body": case["body_rule"], "response_body": case.get("response_body_rule", "")}
    kind = case["rpc"].rpartition("/")[2] if "rpc" in case else _kind_of(case)
    if kind == "CreateBook" and case["rpc"].startswith("vanguard"):
        kind = "CreateVolume"
    request, response = _TYPES[kind]
    described = with_rules((request, case["template_method"], rule), response=response)
    ignoring = "unknown body fields are dropped" in case.get("note", "")
    settings = Settings(unknown_body_fields="ignore" if ignoring else "strict")
    _expect_message(case, described, case["method"], case["path"], case["query"], settings=settings, wanted="request")
    if "response" in case:
        _expect_response(case, described, settings)


def _expect_message(
    case: Case, described: bytes, method: str, path: str, query: str, *, wanted: str, settings: Settings | None = None
) -> None:
    body = base64.b64decode(case["body_base64"]) if "body_base64" in case else case.get("body", "").encode()
    expect = case["expect"]
    message = _bound(described, method, path, query, body, settings)
    if isinstance(message, int):
        assert expect == ("error" if message == 400 else "no-match")
        assert message == case.get("expect_http_status", 400)
        return
    assert isinstance(expect, dict), f"taken as {message}"
    json_form = expect[wanted] if wanted else expect
    same = type(message).from_json(json.dumps(json_form))
    assert message.to_binary() == same.to_binary()


def _bound(
    described: bytes, method: str, path: str, query: str = "", body: bytes = b"", settings: Settings | None = None
) -> Any:
    """Returns the message of a request, or the HTTP status it is refused with."""
    try:
        return bind(described, method, path, query, body, settings=settings)
    except Refused as refused:
        return refused.failure.http_status
    except UnknownPath:
        return 404
    except UnknownMethod:
        return 405


def _expect_response(case: Case, described: bytes, settings: Settings) -> None:
    response = case["response"]
    if not set(response) <= {"grpc_status", "message", "http", "json", "content_type", "message_json", "body_is"}:
        raise NotCovered(str(set(response)))
    registry, match = find(described, case["method"], case["path"], settings)
    if (number := response.get("grpc_status")) is not None:
        code = next(code for code in grpc.StatusCode if code.value[0] == number)
        failure = Outcomes(settings, registry).failure(code, response["message"], {})
        assert failure.http_status == response["http"]
        written = json.loads(failure.status_json())
        assert written == {"details": [], **response.get("json", written)}
    elif "message_json" in response:
        reply = match.target.response.type.from_json(json.dumps(response["message_json"]))
        shown = json.loads(Renderer(settings, registry).render(match.target, reply, AnswerOptions()))
        wanted = response["message_json"]
        name = case.get("response_body_rule")
        assert shown == (wanted[name] if name else wanted)


def _status(case: Case) -> None:
    code = grpc.StatusCode[case["grpc"]]
    assert (code.value[0], HTTP_STATUS[code]) == (case["grpc_code"], case["http"])


def _mask(case: Case) -> None:
    message = _message(registry_of(compiled()), case["message"])
    try:
        paths = mask_of(message, json.loads(case["body"]))
    except NoMask:
        assert case["expect"] == "error"
        return
    assert paths == case["expect"]["paths"]


def _message(registry: Registry, full_name: str) -> DescMessage:
    found = registry.message(f"cases.{full_name.rpartition('.')[2]}")
    assert found is not None
    return found


def _kind_of(case: Case) -> str:
    by_template = {"/echoAuthor": "EchoAuthor", "/shelves/{shelf}": "GetShelf", "/v1/{name=messages/*}": "GetBook"}
    return by_template.get(case["template"], "Letter")


def _compliance(case: Case) -> None:
    sent, received = bound_by_client(case["rpc"].rpartition("/")[2], case["request"])
    assert received.to_binary() == sent.to_binary()


_TYPES = {
    "ListShelves": ("Empty", ""),
    "GetBook": ("Named", ""),
    "CreateBook": ("OnShelf", ""),
    "CreateVolume": ("CreateVolume", ""),
    "MoveBooks": ("MoveBooks", ""),
    "ListCheckouts": ("Named", "Checkouts"),
    "GetCheckout": ("Checkout", ""),
    "Index": ("Filed", ""),
    "Upload": ("Filed", ""),
    "Letter": ("Letter", ""),
    "CreateShelf": ("CreateShelf", "Shelf"),
    "GetIndex": ("Empty", ""),
    "GetIndexStream": ("Empty", ""),
    "EchoBody": ("EchoBody", ""),
    "GetShelf": ("OnShelf", ""),
    "DeleteBook": ("DeleteBook", "Empty"),
    "UpdateBook": ("OnShelf", ""),
    "BookstoreOptions": ("OnShelf", ""),
    "ListBooks": ("OnShelf", ""),
    "BulkCreateShelf": ("CreateShelf", ""),
    "EchoAuthor": ("Author", ""),
}
"""Request and reply types of our protos by the name of the case's rpc."""

RUNNERS: Mapping[str, Callable[[Case], None]] = {
    "match": _match,
    "template_parse": _template,
    "param_value": _parameter,
    "query": _query,
    "weave": _weave,
    "request": _request,
    "status_map": _status,
    "field_mask_from_body": _mask,
    "showcase_compliance": _compliance,
    "client_encode": client_encodes,
    "health": _health,
}
