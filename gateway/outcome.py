"""What the end of a call means to an HTTP client: a service's error, or what the mesh says in its place (rule 14)."""

import math
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from grpc import StatusCode
from protobuf import DescMessage, Registry, message_to_json_value

from gateway.metadata import answered
from gateway.refusal import HTTP_STATUS, Failure, error_info
from gateway.settings import Settings

MESH_DOMAIN = "astra.mesh"
_STATUS = "google.rpc.Status"
_DETAILS = "grpc-status-details-bin"
_RETRY_INFO = "google.rpc.RetryInfo"


@dataclass(frozen=True, slots=True)
class _Sign:
    """What a response flag of the proxy stands for."""

    flag: str
    code: StatusCode
    reason: str


# Only flags with which the proxy itself answers. `URX` and the like come with the service's own error.
_SIGNS = (
    _Sign("UT", StatusCode.DEADLINE_EXCEEDED, "UPSTREAM_TIMEOUT"),
    _Sign("SI", StatusCode.DEADLINE_EXCEEDED, "UPSTREAM_TIMEOUT"),
    _Sign("DT", StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"),
    _Sign("DPE", StatusCode.INTERNAL, "PROTOCOL_ERROR"),
    _Sign("RL", StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED"),
    _Sign("UO", StatusCode.UNAVAILABLE, "OVERLOADED"),
    _Sign("UH", StatusCode.UNAVAILABLE, "NO_HEALTHY_UPSTREAM"),
    _Sign("UF", StatusCode.UNAVAILABLE, "UPSTREAM_UNREACHABLE"),
    _Sign("UC", StatusCode.UNAVAILABLE, "UPSTREAM_RESET"),
    _Sign("LR", StatusCode.UNAVAILABLE, "UPSTREAM_RESET"),
    _Sign("UR", StatusCode.UNAVAILABLE, "UPSTREAM_RESET"),
    _Sign("NC", StatusCode.UNAVAILABLE, "NO_HEALTHY_UPSTREAM"),
)
_DENIED = _Sign("", StatusCode.PERMISSION_DENIED, "ROLE_REQUIRED")
_DENIED_REASON = "rbac_access_denied"
_TIMEOUT_REASON = "timeout"
_FROM_SERVICE = "via_upstream"


class Outcomes:
    """Turns the errors of calls into failures."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._settings = settings
        self._registry = registry
        self._status = registry.message(_STATUS)

    def failure(self, code: StatusCode, message: str, metadata: Mapping[str, str | bytes]) -> Failure:
        """Returns the failure for a call that ended with an error; `metadata` is initial and trailing together."""
        details = self._details(metadata.get(_DETAILS))
        if sign := _sign(metadata):
            origin = {"flags": _text(metadata, "x-mesh-flags"), "reason": _text(metadata, "x-mesh-reason")}
            details = [*details, error_info(sign.reason, MESH_DOMAIN, {**origin, "grpcCode": code.name})]
            code = sign.code
            message = message or sign.reason.replace("_", " ").lower()
        headers = answered(metadata)
        if code in (StatusCode.UNAVAILABLE, StatusCode.RESOURCE_EXHAUSTED):
            headers["retry-after"] = str(self._retry_after(headers, details))
        if code is StatusCode.UNAUTHENTICATED:
            headers.setdefault("www-authenticate", "Bearer")
        return Failure(
            code=code.value[0], http_status=HTTP_STATUS[code], message=message, details=tuple(details), headers=headers
        )

    def unreachable(self) -> Failure:
        """Returns the failure for a call that found no connection. It names no addresses of the mesh."""
        return Failure(
            code=StatusCode.UNAVAILABLE.value[0],
            http_status=HTTP_STATUS[StatusCode.UNAVAILABLE],
            message="the mesh cannot be reached; try again",
            details=(error_info("MESH_UNREACHABLE", MESH_DOMAIN),),
            headers={"retry-after": str(self._settings.retry_after_seconds)},
        )

    def _details(self, encoded: str | bytes | None) -> list[Mapping[str, Any]]:
        if not isinstance(encoded, bytes) or self._status is None:
            return []
        try:
            status: Any = self._status.type.from_binary(encoded)
        except (ValueError, TypeError, EOFError):
            return [{"@type": f"type.googleapis.com/{_STATUS}", "value": b64encode(encoded).decode()}]
        return [self._detail(detail) for detail in status.details]

    def _detail(self, detail: Any) -> Mapping[str, Any]:
        """Returns one detail as JSON; a type that is not known here keeps its bytes."""
        known = self._registry.message(detail.type_url.rpartition("/")[2])
        if isinstance(known, DescMessage):
            try:
                value: Any = message_to_json_value(known.type.from_binary(detail.value), registry=self._registry)
            except (ValueError, TypeError, EOFError):
                pass
            else:
                return {"@type": detail.type_url, **(value if isinstance(value, dict) else {"value": value})}
        return {"@type": detail.type_url, "value": b64encode(detail.value).decode()}

    def _retry_after(self, headers: Mapping[str, str], details: list[Mapping[str, Any]]) -> int:
        """Returns the seconds a client should wait, from whoever knows: the service, the rate limit, the settings."""
        told = [headers.get("retry-after", "")]
        told += [str(d.get("retryDelay", "")) for d in details if str(d.get("@type", "")).endswith(_RETRY_INFO)]
        told.append(headers.get("x-ratelimit-reset", ""))
        for text in told:
            try:
                seconds = float(text.removesuffix("s"))
            except ValueError:
                continue
            if 0 <= seconds < 1e6:
                return max(1, math.ceil(seconds))
        return self._settings.retry_after_seconds


def _sign(metadata: Mapping[str, str | bytes]) -> _Sign | None:
    """Returns what the proxy says about a call, unless the error is the service's own."""
    reason = _text(metadata, "x-mesh-reason")
    if not reason or reason.startswith(_FROM_SERVICE):
        return None
    if reason.startswith(_DENIED_REASON):
        return _DENIED
    flags = set(_text(metadata, "x-mesh-flags").split(","))
    for sign in _SIGNS:
        if sign.flag in flags:
            return sign
    return _Sign("", StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED") if _TIMEOUT_REASON in reason else None


def _text(metadata: Mapping[str, str | bytes], name: str) -> str:
    value = metadata.get(name, "")
    return value if isinstance(value, str) else ""
