"""What consumer groups rely on: declared in `relies_on.yaml` beside their reactions, watched when they run."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import yaml
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from services.mesh import ROOT

Declared = Mapping[str, Mapping[str, Mapping[str, str]]]
"""Type of the field by field, by event, by group."""

_SCALARS = {
    getattr(FieldDescriptor, name): name.removeprefix("TYPE_").lower()
    for name in dir(FieldDescriptor)
    if name.startswith("TYPE_")
}


@cache
def declared(domain: str) -> Declared:
    """Reads what the groups of a domain declare; nothing if it has no groups."""
    path = ROOT / "services" / domain / "relies_on.yaml"
    read: Declared = (yaml.safe_load(path.read_text()) or {}) if path.exists() else {}
    return read


def field_type(field: Any) -> str:
    """Says a field's type as a `.proto` file does."""
    kind = field.message_type or field.enum_type
    name = str(kind.full_name) if kind is not None else _SCALARS[field.type]
    return f"repeated {name}" if field.is_repeated else name


class Watched:
    """An event that notes which of its fields are looked at; otherwise it is the event."""

    def __init__(self, event: Message, seen: set[str]) -> None:
        self._event = event
        self._seen = seen

    def __getattr__(self, name: str) -> Any:
        if name in self._event.DESCRIPTOR.fields_by_name:
            self._seen.add(name)
        return getattr(self._event, name)
