"""The one tree of errors. Code raises them; the server makes each a status, and the gateway's table makes that HTTP.

MeshError                 code                 when
├── InvalidArgument       INVALID_ARGUMENT     the request itself is wrong, whatever the state
├── Unauthenticated       UNAUTHENTICATED      nobody we know is calling
├── PermissionDenied      PERMISSION_DENIED    somebody we know may not do this
├── NotFound              NOT_FOUND            the thing named is not there
├── AlreadyExists         ALREADY_EXISTS       it is there already, or the request id is taken
├── FailedPrecondition    FAILED_PRECONDITION  the state does not allow it now
├── ResourceExhausted     RESOURCE_EXHAUSTED   a limit is reached
├── Unavailable           UNAVAILABLE          something is away; try again
└── DeadlineExceeded      DEADLINE_EXCEEDED    the caller's time is up; nothing was done
"""

from typing import ClassVar


class MeshError(Exception):
    """A failure that a caller is told of. The message says what to do about it."""

    code: ClassVar[str]
    """Name of the gRPC code."""

    def __init__(self, message: str, *, reason: str, **metadata: str) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        """AIP-193 reason, `UPPER_SNAKE_CASE`; unique within a service."""
        self.metadata = metadata
        """What a program needs to react, such as the limit that was hit."""


class InvalidArgument(MeshError):
    """The request is wrong. `field` names the offending field of the request."""

    code = "INVALID_ARGUMENT"

    def __init__(self, message: str, *, field: str, reason: str = "INVALID_FIELD") -> None:
        super().__init__(message, reason=reason, field=field)
        self.field = field


class Unauthenticated(MeshError):
    """No valid token, or wrong credentials."""

    code = "UNAUTHENTICATED"


class PermissionDenied(MeshError):
    """The caller is known and may not do this."""

    code = "PERMISSION_DENIED"


class NotFound(MeshError):
    """The named thing is not there, or not for this caller."""

    code = "NOT_FOUND"


class AlreadyExists(MeshError):
    """The thing is there already."""

    code = "ALREADY_EXISTS"


class FailedPrecondition(MeshError):
    """The state does not allow it; repeating the call without changing the state is of no use."""

    code = "FAILED_PRECONDITION"


class ResourceExhausted(MeshError):
    """A limit is reached; it passes with time."""

    code = "RESOURCE_EXHAUSTED"


class Unavailable(MeshError):
    """Something the call needs is away; nothing was done and it may be tried again."""

    code = "UNAVAILABLE"


class DeadlineExceeded(MeshError):
    """The deadline passed before the work began; nothing was done."""

    code = "DEADLINE_EXCEEDED"
