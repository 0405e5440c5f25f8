"""Calls rpcs by the generated client; run by the Python of `.clients/`. Reads a JSON object a line, answers with one.

A question has `rpc`, `request` (ProtoJSON), `token`, `seconds` and `correlation`. The answer has `result`, `pages` (all
of a list), `messages` (of a stream, until it ends or is silent for the seconds), or `error`. A request with `read` is
no call: the client reads it as the body of a stream.
"""

import importlib
import io
import json
import re
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

import requests
from google.api_core.exceptions import GoogleAPICallError
from google.api_core.rest_streaming import ResponseIterator
from google.auth.credentials import AnonymousCredentials

Json = dict[str, Any]


def main() -> None:
    address = sys.argv[1]
    for line in sys.stdin:
        question = json.loads(line)
        try:
            answer = _ask(address, question)
        except GoogleAPICallError as error:
            answer = {"error": _shown(error)}
        except Exception as error:  # whatever a client lets its user see
            answer = {"error": {"type": type(error).__name__, "message": str(error)}}
        print(json.dumps(answer), flush=True)


class NoCredentials(AnonymousCredentials):  # type: ignore[misc]
    """Lets a 401 come through as an error of the call: tokens are given with each call."""

    def refresh(self, request: object) -> None:
        return


@cache
def _client(address: str, service: str) -> tuple[Any, Any]:
    """Returns the module of a service and its client, with the REST transport it was generated with."""
    package, name = service.rsplit(".", 1)
    module = importlib.import_module(re.sub(r"\.(v[0-9]+)$", r"_\1", package))
    client_type = getattr(module, f"{name}Client")
    transport_type = client_type.get_transport_class("rest")
    transport = transport_type(host=address, url_scheme="http", credentials=NoCredentials())
    return module, client_type(transport=transport)


def _ask(address: str, question: Json) -> Json:
    service, rpc = question["rpc"].strip("/").split("/")
    module, client = _client(address, service)
    if "read" in question["request"]:
        return _read(getattr(module, f"{rpc}Response"), question["request"]["read"])
    request = getattr(module, f"{rpc}Request").from_json(json.dumps(question["request"]))
    metadata = [("x-correlation-id", question["correlation"])] if question.get("correlation") else []
    if question.get("token"):
        metadata.append(("authorization", f"Bearer {question['token']}"))
    call = getattr(client, re.sub(r"(?<!^)(?=[A-Z])", "_", rpc).lower())
    try:
        answer = call(request=request, metadata=metadata, timeout=question["seconds"])
    except requests.exceptions.ReadTimeout:
        return {"messages": []}  # a stream without a message has no head either
    if hasattr(answer, "pages"):
        return {"pages": [_json(page) for page in answer.pages]}
    if hasattr(answer, "cancel"):
        return {"messages": list(_messages(answer))}
    return {"result": _json(answer)}


def _messages(stream: Any) -> Iterator[Json]:
    """Yields what a stream brings until it ends or is silent for the timeout."""
    try:
        for message in stream:
            yield _json(message)
    except requests.exceptions.ConnectionError as error:
        if "timed out" not in str(error):  # so requests tells a timeout within an answer
            raise


def _read(response_type: Any, body: str) -> Json:
    """Reads the body of a stream as the client would."""
    response = requests.Response()
    response.raw, response.status_code, response.encoding = io.BytesIO(body.encode()), 200, "utf-8"
    messages: list[Json] = []
    try:
        messages.extend(map(_json, ResponseIterator(response, response_type)))  # and keeps what came before a failure
    except ValueError as error:
        return {"messages": messages, "error": {"type": type(error).__name__, "message": str(error)}}
    return {"messages": messages}


def _json(message: Any) -> Any:
    return json.loads(type(message).to_json(message, always_print_fields_with_no_presence=False))


def _shown(error: GoogleAPICallError) -> Json:
    return {
        "type": type(error).__name__,
        "code": error.code,
        "message": error.message,
        "reason": error.reason,
        "domain": error.domain,
        "details": error.details,
    }


if __name__ == "__main__":
    main()
