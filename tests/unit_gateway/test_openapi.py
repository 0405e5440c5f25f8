"""The document of an API: valid by an independent validator, complete, and true of what the gateway answers."""

import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from openapi_spec_validator import validate

from gateway.api import Api
from gateway.openapi.comments import summary_of
from gateway.openapi.document import document
from gateway.parameters import AnswerOptions
from gateway.settings import Settings
from services.contracts import DESCRIPTORS, rpcs
from tests.unit_gateway.backend import Served, served
from tests.unit_gateway.schema import with_rules

RULES = with_rules(
    ("Proto3Message", "GET", {"path": "/read/{string_value}/{nested.int64_value}"}),
    ("CreateVolume", "POST", {"path": "/{parent=shelves/*}/books:add", "body": "*"}),
    ("UpdateVolume", "PATCH", {"path": "/{book.name=books/**}", "body": "book"}),
    ("EchoBody", "POST", {"path": "/raw", "body": "nested.content"}),
)
STREAMS = with_rules(("Watched", "POST", {"path": "/chat", "body": "*"}), streaming="client and server")


def _document(described: bytes) -> tuple[Api, dict[str, Any]]:
    api = Api.of(Settings(), described)
    return api, json.loads(document(api, title="Tests"))


def _operations(made: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in made["paths"].values():
        yield from path.values()


@pytest.mark.parametrize("described", [RULES, STREAMS, DESCRIPTORS.read_bytes()], ids=["rules", "streams", "mesh"])
def test_document_is_valid_and_has_every_rule(described: bytes) -> None:
    api, made = _document(described)
    validate(made)
    ids = [operation["operationId"] for operation in _operations(made)]
    assert len(ids) == len(set(ids)) == len(api.routes)
    for operation in _operations(made):
        names = {(p["name"], p["in"]) for p in operation["parameters"] if "name" in p}
        assert len(names) == len([p for p in operation["parameters"] if "name" in p])
        assert operation["description"] or described != DESCRIPTORS.read_bytes()


def test_placeholders_of_paths_are_parameters() -> None:
    _, made = _document(RULES)
    for path, operations in made["paths"].items():
        for operation in operations.values():
            told = [p["name"] for p in operation["parameters"] if p.get("in") == "path"]
            assert told == re.findall(r"\{([^}]+)\}", path)
    assert set(made["paths"]) >= {"/shelves/{parent.1}/books:add", "/books/{book.name.1}", "/raw"}


def test_what_the_path_sets_is_no_part_of_body_or_query() -> None:
    _, made = _document(RULES)
    volume = made["paths"]["/shelves/{parent.1}/books:add"]["post"]["requestBody"]["content"]["application/json"]
    assert "parent" not in volume["schema"]["properties"]
    book = made["paths"]["/books/{book.name.1}"]["patch"]
    assert "name" not in book["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert "updateMask" in [p.get("name") for p in book["parameters"]]
    read = made["paths"]["/read/{stringValue}/{nested.int64Value}"]["get"]
    query = [p["name"] for p in read["parameters"] if p.get("in") == "query"]
    assert "boolValue" in query
    assert not {"stringValue", "nested.int64Value"} & set(query)


def test_open_rpcs_need_no_token_and_others_do() -> None:
    _, made = _document(DESCRIPTORS.read_bytes())
    by_rpc = {operation["operationId"]: operation for operation in _operations(made)}
    for rpc in rpcs().values():
        operation = by_rpc.get(f"{rpc.service.rpartition('.')[2]}_{rpc.name}")
        if operation is not None:
            assert (operation["security"] == []) is ("OPEN" in rpc.allow), rpc.path
            assert all(reason in operation["description"] for reason in rpc.error_reasons)


def test_streams_have_their_three_forms() -> None:
    _, made = _document(STREAMS)
    operation = made["paths"]["/chat"]["post"]
    assert set(operation["requestBody"]["content"]) == {"application/json", "application/x-ndjson"}
    answers = operation["responses"]["200"]["content"]
    assert set(answers) == {"application/json", "application/x-ndjson", "text/event-stream"}


@pytest.mark.parametrize(
    ("value", "fits"),
    [
        (
            {"int64Value": "-9", "timestampValue": "2026-01-01T00:00:00Z", "enumValue": "Y", "mapValue": {}},
            True,
        ),
        ({"doubleValue": "NaN", "floatValue": 1.5, "bytesValue": "YQ==", "repeatedValue": ["x"], "nested": {}}, True),
        ({"durationValue": "1.500s", "fieldmaskValue": "a,b", "wrapperBoolValue": False}, True),
        ({"int64Value": 9}, False),
        ({"enumValue": "NOPE"}, False),
        ({"unknown": 1}, False),
    ],
)
def test_schema_fits_what_the_gateway_writes(value: dict[str, Any], fits: bool) -> None:
    api, made = _document(RULES)
    route = next(route for route in api.routes if route.rpc == "/cases.Cases/Call0")
    schema = made["components"]["schemas"][route.response.type_name]
    validator = Draft202012Validator({**schema, "components": made["components"]})
    assert validator.is_valid(value) is fits
    if fits:
        message = route.response.type.from_json(json.dumps(value))
        validator.validate(json.loads(api.renderer.render(route, message, AnswerOptions())))


def test_summary_is_the_first_sentence() -> None:
    assert summary_of("Buys one. Fails\nif none.") == "Buys one."
    assert summary_of("Buys one") == "Buys one"


@pytest_asyncio.fixture
async def gateway() -> AsyncIterator[Served]:
    async with served(RULES) as running:
        yield running


async def test_document_and_viewer_are_served(gateway: Served) -> None:
    status, headers, made = await gateway.ask("GET", "/openapi.json")
    assert (status, made["openapi"], headers["Content-Encoding"]) == (200, "3.1.0", "gzip")
    async with gateway.client.get("/docs") as response:
        page = await response.text()
        assert "default-src 'self'" in response.headers["Content-Security-Policy"]
    sources = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(sources) >= 4
    for source in sources:
        assert source.startswith("/docs/")
        async with gateway.client.get(source) as response:
            assert (response.status, len(await response.read()) > 100) == (200, True)
    assert (await gateway.ask("GET", "/docs/../settings.py"))[0] == 404
    assert (await gateway.ask("GET", "/docs/other.js"))[0] == 404
    assert (await gateway.ask("POST", "/docs"))[0] == 405
    assert not gateway.backend.seen


async def test_document_follows_the_descriptors(gateway: Served) -> None:
    gateway.process.reload(STREAMS)
    assert "/chat" in (await gateway.ask("GET", "/openapi.json"))[2]["paths"]
