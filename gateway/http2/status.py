"""How a call ends: by its trailers, by HTTP, by a reset stream (gRPC over HTTP/2, "Responses" and "Errors")."""

from base64 import b64decode
from binascii import Error as BadBase64
from collections.abc import Mapping
from urllib.parse import unquote

from grpc import StatusCode

from gateway.http2.frames import ErrorCode

Metadata = Mapping[str, str | bytes]


class CallFailed(Exception):
    """A call ended with an error.

    - Unreachable: there is no connection and none could be made.
    - Unprocessed: the server never looked at the call, so that it may be sent again.
    """

    def __init__(self, code: StatusCode, message: str, metadata: Metadata | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.metadata: Metadata = metadata or {}
        """Initial and trailing metadata together; what ends in `-bin` is bytes."""


class Unreachable(CallFailed):
    """There is no connection and none could be made. Start the server, or wait until it is up."""

    def __init__(self, message: str) -> None:
        super().__init__(StatusCode.UNAVAILABLE, message)


class Unprocessed(CallFailed):
    """The server never looked at the call, so that it may be sent again."""

    def __init__(self, message: str) -> None:
        super().__init__(StatusCode.UNAVAILABLE, message)


_CODES: Mapping[str, StatusCode] = {str(code.value[0]): code for code in StatusCode}
_OF_HTTP = {
    "400": StatusCode.INTERNAL,
    "401": StatusCode.UNAUTHENTICATED,
    "403": StatusCode.PERMISSION_DENIED,
    "404": StatusCode.UNIMPLEMENTED,
    "429": StatusCode.UNAVAILABLE,
    "502": StatusCode.UNAVAILABLE,
    "503": StatusCode.UNAVAILABLE,
    "504": StatusCode.UNAVAILABLE,
}
_OF_RESET = {
    ErrorCode.CANCEL: StatusCode.CANCELLED,
    ErrorCode.ENHANCE_YOUR_CALM: StatusCode.RESOURCE_EXHAUSTED,
    ErrorCode.INADEQUATE_SECURITY: StatusCode.PERMISSION_DENIED,
}


def failure_of(headers: Mapping[str, str], trailers: Mapping[str, str]) -> CallFailed | None:
    """Returns what the end of an answer says; None if the call went well."""
    status = trailers.get("grpc-status")
    if status == "0":
        return None
    metadata = received({**headers, **trailers})
    if status is not None:
        message = unquote(trailers.get("grpc-message", ""), errors="replace")
        return CallFailed(_CODES.get(status, StatusCode.UNKNOWN), message, metadata)
    http_status = headers.get(":status") or trailers.get(":status", "")
    code = _OF_HTTP.get(http_status, StatusCode.UNKNOWN)
    return CallFailed(code, f"the server answered without a gRPC status, with HTTP status {http_status}", metadata)


def reset_failure(code: int) -> CallFailed:
    """Returns what a reset stream means."""
    if code == ErrorCode.REFUSED_STREAM:
        return Unprocessed("the server refused the stream")
    known = code in ErrorCode.__members__.values()
    name = ErrorCode(code).name if known else str(code)
    status = _OF_RESET.get(ErrorCode(code), StatusCode.INTERNAL) if known else StatusCode.INTERNAL
    return CallFailed(status, f"the server reset the stream: {name}")


def received(headers: Mapping[str, str]) -> Metadata:
    """Returns headers as metadata: no pseudo headers, and bytes for what ends in `-bin`."""
    metadata: dict[str, str | bytes] = {}
    for name, value in headers.items():
        if name.startswith(":"):
            continue
        if not name.endswith("-bin"):
            metadata[name] = value
            continue
        try:
            # Several values of a name may come joined; the last counts.
            last = value.rpartition(",")[2].strip()
            metadata[name] = b64decode(last + "=" * (-len(last) % 4), validate=True)
        except BadBase64:
            continue
    return metadata
