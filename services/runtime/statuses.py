"""Errors as callers see them: a `google.rpc.Status` with AIP-193 details."""

import grpc
from google.protobuf.any_pb2 import Any
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from services.runtime.errors import InvalidArgument, MeshError

INTERNAL_MESSAGE = "something went wrong on our side; it is in our log under this call's correlation id"


def status_of(error: MeshError, *, service: str) -> status_pb2.Status:
    """Makes a status of an error: its code and message, an ErrorInfo, and what else a program can use.

    That is a BadRequest where a field is to blame, and a RetryInfo where the metadata has `retry_after_seconds`.
    """
    info = Any()
    info.Pack(error_details_pb2.ErrorInfo(reason=error.reason, domain=f"astra.{service}", metadata=error.metadata))
    details = [info]
    if isinstance(error, InvalidArgument):
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=error.message)
        bad_request = Any()
        bad_request.Pack(error_details_pb2.BadRequest(field_violations=[violation]))
        details.append(bad_request)
    if seconds := error.metadata.get("retry_after_seconds"):
        delay = error_details_pb2.RetryInfo()
        delay.retry_delay.FromSeconds(int(seconds))
        retry_info = Any()
        retry_info.Pack(delay)
        details.append(retry_info)
    return status_pb2.Status(code=code_pb2.Code.Value(error.code), message=error.message, details=details)


def internal_status() -> status_pb2.Status:
    """Makes the status of a failure nobody expected. It tells nothing of what is inside."""
    return status_pb2.Status(code=code_pb2.INTERNAL, message=INTERNAL_MESSAGE)


async def abort(
    context: grpc.aio.ServicerContext[object, object],
    status: status_pb2.Status,
    metadata: tuple[tuple[str, str], ...] = (),
) -> None:
    """Ends a call with a status, and trailing metadata beside it."""
    trailing = rpc_status.to_status(status)
    await context.abort(trailing.code, trailing.details, (*(trailing.trailing_metadata or ()), *metadata))


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """Returns the AIP-193 reason in a failed call; empty if it has none."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # it has all that is read
    info = error_details_pb2.ErrorInfo()
    for detail in status.details if status else ():
        if detail.Unpack(info):
            return str(info.reason)
    return ""
