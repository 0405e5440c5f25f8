"""Runs the cases that only show on the wire, against a gateway and a backend that answers what the case says."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc
from yarl import URL

from tests.unit_gateway.backend import served
from tests.unit_gateway.schema import with_rules

Case = Mapping[str, Any]
_HTTP_BODY = "google.api.HttpBody"
_RPCS = {
    "Index": ("Filed", _HTTP_BODY, ""),
    "Upload": ("Filed", "Empty", "client"),
    "GetIndex": ("Empty", _HTTP_BODY, ""),
    "GetIndexStream": ("Empty", _HTTP_BODY, "server"),
    "EchoBody": ("EchoBody", "", ""),
    "ListBooks": ("OnShelf", "Book", "server"),
    "BulkCreateShelf": ("CreateShelf", "Empty", "client"),
}
"""Request and reply types of our protos by the name of the case's rpc, and how it streams."""


def is_for_the_wire(case: Case) -> bool:
    response = case.get("response", {})
    return bool(
        {"HttpBody", "HttpBody_stream", "stream"} & response.keys()
        or "request_stream" in case["expect"]
        or case["body_rule"] == "nested.content"
    )


def run_on_the_wire(case: Case) -> None:
    asyncio.run(_run(case))


async def _run(case: Case) -> None:
    request, reply, streaming = _RPCS[case["rpc"].rpartition("/")[2]]
    rule = {"path": case["template"], "body": case["body_rule"]}
    described = with_rules((request, case["template_method"], rule), response=reply, streaming=streaming)
    async with served(described) as gateway:
        replies = _replies(case, gateway.type(reply or request))

        async def answer(request: Any, context: Any) -> Any:
            return replies[0] if replies else request

        async def stream(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
            async for _ in requests:
                pass
            for message in replies if "server" in streaming else [gateway.type(reply)()]:
                yield message
            if number := case.get("response", {}).get("grpc_status"):
                code = next(code for code in grpc.StatusCode if code.value[0] == number)
                await context.abort(code, "as the case says")

        gateway.backend.answer, gateway.backend.stream = answer, stream
        url = URL(case["path"] + ("?" + case["query"] if case["query"] else ""), encoded=True)
        headers = {"Content-Type": case.get("content_type", "application/json")} if "body" in case else {}
        async with gateway.client.request(case["method"], url, data=case.get("body"), headers=headers) as response:
            body = await response.read()
        _check_request(case, gateway.backend.seen)
        _check_response(case.get("response", {}), response.status, response.headers, body)


def _replies(case: Case, reply: Any) -> list[Any]:
    response = case.get("response", {})
    if "stream" in response:
        return [reply.from_json(json.dumps(book)) for book in response["stream"]]
    bodies = response.get("HttpBody_stream", [response["HttpBody"]] if "HttpBody" in response else [])
    return [reply(content_type=body["contentType"], data=body["data"].encode()) for body in bodies]


def _check_request(case: Case, seen: list[Any]) -> None:
    expect = case["expect"]
    wanted = expect["request_stream"] if "request_stream" in expect else [expect["request"]]
    assert [message.to_binary() for message in seen] == [
        type(message).from_json(json.dumps(request)).to_binary() for message, request in zip(seen, wanted, strict=True)
    ]


def _check_response(response: Mapping[str, Any], status: int, headers: Mapping[str, str], body: bytes) -> None:
    assert status == response.get("http", 200)
    if "raw_body" in response:
        assert body == response["raw_body"].encode()
    if "content_type" in response:
        assert headers["Content-Type"] == response["content_type"]
    if "stream" in response and status == 200:
        assert json.loads(body) == response["stream"]
