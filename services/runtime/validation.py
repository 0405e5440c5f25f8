"""What every request is checked for, derived from its message: required fields and the form of ids."""

import re
from collections.abc import Sequence
from functools import cache

from google.api import field_behavior_pb2
from google.protobuf import descriptor_pool
from google.protobuf.message import Message

from services.runtime.errors import InvalidArgument

ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
"""Ids that callers see."""
CORRELATION_ID_FIELD = "correlation_id"


def validate(request: Message) -> None:
    """Raises `InvalidArgument` for a required field that is not set, or a malformed id."""
    required, ids = _rules(request.DESCRIPTOR.full_name)
    present = {field.name for field, _ in request.ListFields()}
    for name in required:
        if name not in present:
            raise InvalidArgument(f"{name} is required", field=name, reason="FIELD_REQUIRED")
    for name in ids:
        value = getattr(request, name)
        if value and not ID.fullmatch(value):
            raise InvalidArgument(f"{name} must be 1–64 characters A–Z a–z 0–9 _ -", field=name)


@cache
def _rules(full_name: str) -> tuple[Sequence[str], Sequence[str]]:
    """Returns the names of the required fields and of the id fields of a message."""
    fields = descriptor_pool.Default().FindMessageTypeByName(full_name).fields
    required = [
        field.name
        for field in fields
        if field_behavior_pb2.REQUIRED in field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
    ]
    ids = [
        field.name
        for field in fields
        if field.name.endswith("_id") and field.type == field.TYPE_STRING and field.name != CORRELATION_ID_FIELD
    ]
    return required, ids
