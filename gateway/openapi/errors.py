"""The failures an operation may answer with, each with an example. There are no others, so there is no `default`."""

import json
from collections.abc import Iterator

from grpc import StatusCode

from gateway.openapi.schemas import STATUS, Schema
from gateway.refusal import DOMAIN, HTTP_STATUS, OWN_CODES, Failure, error_info
from gateway.routes import Route

PROBLEM = "rfc9457.Problem"

_TOLD = {
    400: ("UNKNOWN_PARAMETER", "The request is broken or breaks a rule.", "the query's 'x' names no field"),
    401: ("UNAUTHENTICATED", "There is no valid token.", "sign in first"),
    403: ("PERMISSION_DENIED", "The caller may not do this.", "this is for others"),
    404: ("NOT_FOUND", "There is no such thing.", "there is no such thing"),
    408: ("BODY_TOO_SLOW", "The request did not arrive in time.", "the body did not arrive in time"),
    409: ("ALREADY_EXISTS", "It is there already, or something else changed it meanwhile.", "it is there already"),
    413: ("BODY_TOO_LARGE", "The body is too large, packed or unpacked.", "the body is too large"),
    414: ("PATH_TOO_LONG", "Path and query are too long.", "path and query are too long"),
    415: ("NOT_JSON", "The body is not JSON, or packed otherwise than by gzip.", "the body has to be application/json"),
    417: ("UNKNOWN_EXPECTATION", "`Expect` holds something else than `100-continue`.", "this cannot be expected"),
    429: ("RATE_LIMITED", "Too many calls; `Retry-After` says when to come back.", "too many calls"),
    431: ("HEADER_TOO_LARGE", "A header is too large, or there are too many.", "a header is too large"),
    500: ("INTERNAL", "The service or the gateway failed: a defect, of which its log tells.", "the service failed"),
    501: ("NOT_SERVED", "The service does not serve this.", "this is not served"),
    502: ("BAD_REPLY", "The service's reply cannot be read.", "the service's reply cannot be read"),
    503: ("UPSTREAM_UNREACHABLE", "The service is down; `Retry-After` says when to come back.", "try again"),
    504: ("DEADLINE_EXCEEDED", "The service did not answer in time.", "there was no answer in time"),
}
"""Reason, description and message of an example, by HTTP status."""
_OF_BODIES = frozenset({408, 413, 415, 417})
_OF_WRITES = frozenset({409})
_CODES = {HTTP_STATUS[code]: code for code in reversed(StatusCode)} | {400: StatusCode.INVALID_ARGUMENT}


def statuses_of(route: Route) -> Iterator[str]:
    """Yields the statuses a rule's failures may have."""
    for status in _TOLD:
        if status in _OF_BODIES and route.body is None:
            continue
        if status in _OF_WRITES and route.method == "GET":
            continue
        yield str(status)


def responses() -> Schema:
    """Returns the failures as components."""
    return {
        str(status): {"description": told, "content": _content(status, reason, message)}
        for status, (reason, told, message) in _TOLD.items()
    }


def _content(status: int, reason: str, message: str) -> Schema:
    code = OWN_CODES.get(status, _CODES.get(status, StatusCode.INVALID_ARGUMENT)).value[0]
    failure = Failure(code=code, http_status=status, message=message, details=(error_info(reason, DOMAIN),))
    return {
        "application/json": {
            "schema": {"$ref": f"#/components/schemas/{STATUS}"},
            "example": json.loads(failure.status_json()),
        },
        "application/problem+json": {
            "schema": {"$ref": f"#/components/schemas/{PROBLEM}"},
            "example": json.loads(failure.problem_json()),
        },
    }


def schemas() -> Schema:
    """Returns the two shapes of a failure as components."""
    detail = {"type": "object", "properties": {"@type": {"type": "string"}}, "additionalProperties": True}
    code = {"type": "integer", "format": "int32", "description": "Number of the gRPC code."}
    details = {"type": "array", "items": detail}
    return {
        STATUS: {
            "type": "object",
            "description": "Why a call failed.",
            "properties": {"code": code, "message": {"type": "string"}, "details": details},
            "required": ["code", "message", "details"],
        },
        PROBLEM: {
            "type": "object",
            "description": "Why a call failed, for a client that accepts `application/problem+json`.",
            "properties": {
                "type": {"type": "string"},
                "title": {"type": "string"},
                "status": {"type": "integer"},
                "detail": {"type": "string"},
                "code": code,
                "details": details,
            },
            "required": ["type", "title", "status", "detail", "code", "details"],
        },
    }
