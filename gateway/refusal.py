"""The one shape of every failure: a `google.rpc.Status` with its HTTP status, and the exception that carries it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from grpc import StatusCode

DOMAIN = "astra.gateway"
"""`domain` of the reasons that the gateway itself gives."""

HTTP_STATUS: Mapping[StatusCode, int] = {
    StatusCode.OK: 200,
    StatusCode.CANCELLED: 499,
    StatusCode.UNKNOWN: 500,
    StatusCode.INVALID_ARGUMENT: 400,
    StatusCode.DEADLINE_EXCEEDED: 504,
    StatusCode.NOT_FOUND: 404,
    StatusCode.ALREADY_EXISTS: 409,
    StatusCode.PERMISSION_DENIED: 403,
    StatusCode.RESOURCE_EXHAUSTED: 429,
    StatusCode.FAILED_PRECONDITION: 400,
    StatusCode.ABORTED: 409,
    StatusCode.OUT_OF_RANGE: 400,
    StatusCode.UNIMPLEMENTED: 501,
    StatusCode.INTERNAL: 500,
    StatusCode.UNAVAILABLE: 503,
    StatusCode.DATA_LOSS: 500,
    StatusCode.UNAUTHENTICATED: 401,
}
"""`google.rpc.Code` says which HTTP status a code has."""

_MAPPED_BACK = (
    StatusCode.NOT_FOUND,
    StatusCode.UNIMPLEMENTED,
    StatusCode.INTERNAL,
    StatusCode.UNAVAILABLE,
    StatusCode.PERMISSION_DENIED,
    StatusCode.UNAUTHENTICATED,
)
OWN_CODES = {
    405: StatusCode.UNIMPLEMENTED,
    408: StatusCode.DEADLINE_EXCEEDED,
    502: StatusCode.INTERNAL,
    **{HTTP_STATUS[code]: code for code in _MAPPED_BACK},
}
"""Codes of what the gateway refuses by itself; the rest is INVALID_ARGUMENT."""
_NAMES = {code.value[0]: code.name for code in StatusCode}


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a request has no answer, ready to be written."""

    code: int
    """Number of the gRPC code."""
    http_status: int
    message: str
    details: tuple[Mapping[str, Any], ...] = ()
    """In ProtoJSON, each with its `@type`."""
    headers: Mapping[str, str] = field(default_factory=dict)

    def status_json(self) -> bytes:
        """Returns it as `google.rpc.Status`."""
        return _dumped({"code": self.code, "message": self.message, "details": list(self.details)})

    def error_json(self) -> bytes:
        """Returns it as the error of AIP-193, which holds the HTTP status and the code's name."""
        name = _NAMES.get(self.code, StatusCode.UNKNOWN.name)
        error = {"code": self.http_status, "message": self.message, "status": name, "details": list(self.details)}
        return _dumped({"error": error})

    def problem_json(self) -> bytes:
        """Returns it as a problem of RFC 9457, with code and details as extension members."""
        return _dumped(
            {
                "type": "about:blank",
                "title": _title(self.http_status),
                "status": self.http_status,
                "detail": self.message,
                "code": self.code,
                "details": list(self.details),
            }
        )


class Refused(Exception):
    """The request ends here with a failure. Whoever serves it writes the failure."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def refusal(
    http_status: int,
    reason: str,
    message: str,
    *,
    field_path: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Refused:
    """Returns what to raise for a request that never reaches a backend. `field_path` names the field at fault."""
    code = OWN_CODES.get(http_status, StatusCode.INVALID_ARGUMENT)
    details = [error_info(reason, DOMAIN)]
    if field_path is not None:
        violation = {"field": field_path, "description": message}
        details.append({"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]})
    return Refused(
        Failure(
            code=code.value[0], http_status=http_status, message=message, details=tuple(details), headers=headers or {}
        )
    )


def error_info(reason: str, domain: str, metadata: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Returns a `google.rpc.ErrorInfo` as JSON."""
    info: dict[str, Any] = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": domain}
    if metadata:
        info["metadata"] = dict(metadata)
    return info


def _title(http_status: int) -> str:
    try:
        return HTTPStatus(http_status).phrase
    except ValueError:  # 499 is nginx's, not the standard's
        return "Client Closed Request"


def _dumped(value: object) -> bytes:
    # A backend's message may hold what UTF-8 cannot: the answer is sent all the same.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
