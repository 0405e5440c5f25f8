"""Messages with every field set, the same in every run: what the corpus of a release is made of."""

from collections.abc import Mapping
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

MOMENT_SECONDS = 1_800_014_400
"""2027-01-15 12:00 UTC."""

_TEXTS: Mapping[str, str] = {
    "user_id": "alice",
    "target_user_id": "bob",
    "symbol": "BTC",
    "rarity": "rare",
    "old_rating": "3.50",
    "new_rating": "4.25",
    "rating": "4.25",
}
"""Texts that have a form; others are their field's name, ids with a number."""
_AMOUNTS: Mapping[str, tuple[str, str]] = {"nft": ("SHARDS", "12")}
"""Currency and amount of a domain's money; dollars elsewhere."""
_DOLLARS = ("USD", "12.50")


def sample(kind: type[Message]) -> Message:
    """Returns a message with every field set: lists with one element, enums with their first real value."""
    return _filled(kind, kind.DESCRIPTOR.full_name.split(".")[1])


def _filled(kind: type[Message], domain: str) -> Message:
    message = kind()
    match kind.DESCRIPTOR.full_name:
        case "google.protobuf.Timestamp":
            return kind(seconds=MOMENT_SECONDS)
        case "google.protobuf.Duration":
            return kind(seconds=60)
        case "astra.type.v1.Money":
            currency, amount = _AMOUNTS.get(domain, _DOLLARS)
            return kind(currency_code=currency, amount=amount)
    taken: set[str] = set()
    for field in kind.DESCRIPTOR.fields:
        oneof = field.containing_oneof.name if field.containing_oneof else ""
        if oneof in taken or (field.message_type and field.message_type.GetOptions().map_entry):
            continue
        taken |= {oneof} - {""}
        if field.message_type is not None:
            nested: Any = field.message_type
            value = _filled(message_factory.GetMessageClass(nested), domain)
            if field.is_repeated:
                getattr(message, field.name).append(value)
            else:
                getattr(message, field.name).CopyFrom(value)
        elif field.is_repeated:
            getattr(message, field.name).append(_scalar(field))
        else:
            setattr(message, field.name, _scalar(field))
    return message


def _scalar(field: Any) -> object:
    if field.enum_type is not None:
        return field.enum_type.values[min(1, len(field.enum_type.values) - 1)].number
    if field.type == FieldDescriptor.TYPE_STRING:
        return _TEXTS.get(field.name, f"{field.name[:-3]}-1" if field.name.endswith("_id") else field.name)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return b"bytes"
    return field.type == FieldDescriptor.TYPE_BOOL or 7
