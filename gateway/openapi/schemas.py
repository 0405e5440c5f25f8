"""The ProtoJSON of messages as JSON Schema (2020-12, the dialect of OpenAPI 3.1)."""

from collections.abc import Collection, Mapping
from typing import Any

from protobuf import DescEnum, DescField, DescFieldValueList, DescFieldValueMap, DescMessage, Registry, ScalarType

from gateway.fields import WRAPPERS, element_of

Schema = dict[str, Any]

STATUS = "google.rpc.Status"
_BEHAVIOR = "google.api.field_behavior"
_REQUIRED, _OUTPUT_ONLY = 2, 3
_LONG: Schema = {"type": "string", "format": "int64", "pattern": "^-?[0-9]+$"}
_UNSIGNED_LONG: Schema = {"type": "string", "format": "uint64", "pattern": "^[0-9]+$"}
_SIGNED: Schema = {"type": "integer", "format": "int32"}
_UNSIGNED: Schema = {"type": "integer", "format": "uint32", "minimum": 0, "maximum": 2**32 - 1}
_NOT_FINITE: Schema = {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}

_SCALARS: Mapping[ScalarType, Schema] = {
    ScalarType.STRING: {"type": "string"},
    ScalarType.BYTES: {"type": "string", "format": "byte", "contentEncoding": "base64"},
    ScalarType.BOOL: {"type": "boolean"},
    ScalarType.DOUBLE: {"anyOf": [{"type": "number", "format": "double"}, _NOT_FINITE]},
    ScalarType.FLOAT: {"anyOf": [{"type": "number", "format": "float"}, _NOT_FINITE]},
    **dict.fromkeys((ScalarType.INT32, ScalarType.SINT32, ScalarType.SFIXED32), _SIGNED),
    **dict.fromkeys((ScalarType.UINT32, ScalarType.FIXED32), _UNSIGNED),
    **dict.fromkeys((ScalarType.INT64, ScalarType.SINT64, ScalarType.SFIXED64), _LONG),
    **dict.fromkeys((ScalarType.UINT64, ScalarType.FIXED64), _UNSIGNED_LONG),
}
_WELL_KNOWN: Mapping[str, Schema] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time", "examples": ["2026-01-31T12:00:00Z"]},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$", "examples": ["1.5s"]},
    "google.protobuf.FieldMask": {"type": "string", "examples": ["displayName,address.city"]},
    "google.protobuf.Struct": {"type": "object", "additionalProperties": True},
    "google.protobuf.Value": {"description": "Any JSON value."},
    "google.protobuf.ListValue": {"type": "array", "items": {}},
    "google.protobuf.Any": {
        "type": "object",
        "properties": {"@type": {"type": "string", "description": "Type of the rest, as a URL."}},
        "required": ["@type"],
        "additionalProperties": True,
    },
}


class Schemas:
    """Makes schemas, and collects the messages and enums they refer to as components."""

    def __init__(self, registry: Registry, comments: Mapping[str, str]) -> None:
        self._comments = comments
        self._behavior = registry.extension(_BEHAVIOR)
        self.components: dict[str, Schema] = {}

    def message(self, message: DescMessage) -> Schema:
        """Returns a schema for a message, mostly a reference."""
        if message.type_name in WRAPPERS:
            return _SCALARS[WRAPPERS[message.type_name]]
        if message.type_name in _WELL_KNOWN:
            return _WELL_KNOWN[message.type_name]
        if message.type_name not in self.components:
            self.components[message.type_name] = {}  # a message may hold itself
            self.components[message.type_name] = self.fields_of(message)
        return {"$ref": f"#/components/schemas/{message.type_name}"}

    def fields_of(self, message: DescMessage, *, without: Collection[str] = ()) -> Schema:
        """Returns a schema of a message's fields, but for those named."""
        fields = [field for field in message.fields if field.name not in without]
        schema: Schema = {"type": "object"}
        if comment := self._comments.get(message.type_name):
            schema["description"] = comment
        schema["properties"] = {field.json_name: self.field(field) for field in fields}
        if required := [field.json_name for field in fields if self.required(field)]:
            schema["required"] = required
        return {**schema, "additionalProperties": False}

    def field(self, field: DescField) -> Schema:
        """Returns a field's schema with what its comment says."""
        element = element_of(field)
        schema: Schema
        if isinstance(field.value, DescFieldValueMap):
            schema = {"type": "object", "additionalProperties": self._element(field.value.value)}
        elif isinstance(field.value, DescFieldValueList):
            schema = {"type": "array", "items": self._element(element)}
        else:
            schema = self._element(element)
        said: Schema = {}
        if comment := self.comment(field):
            said["description"] = comment
        if _OUTPUT_ONLY in self._behaviors(field):
            said["readOnly"] = True
        if field.deprecated:
            said["deprecated"] = True
        return {**schema, **said}

    def comment(self, field: DescField) -> str:
        return self._comments.get(f"{field.parent.type_name}.{field.name}", "") if field.parent is not None else ""

    def required(self, field: DescField) -> bool:
        return _REQUIRED in self._behaviors(field)

    def _behaviors(self, field: DescField) -> list[int]:
        options: Any = field.proto.options
        if options is None or self._behavior is None:
            return []
        return [int(value) for value in options[self._behavior.type]]

    def _element(self, element: ScalarType | DescEnum | DescMessage | None) -> Schema:
        if isinstance(element, ScalarType):
            return _SCALARS[element]
        if isinstance(element, DescMessage):
            return self.message(element)
        if isinstance(element, DescEnum):
            return self._enum(element)
        return {}

    def _enum(self, enum: DescEnum) -> Schema:
        if enum.type_name == "google.protobuf.NullValue":
            return {"type": "null"}
        if enum.type_name not in self.components:
            said = [self._comments.get(enum.type_name, "")]
            for value in enum.values:
                comment = self._comments.get(f"{enum.type_name}.{value.name}")
                said += [f"- `{value.name}`: {' '.join(comment.split())}"] if comment else []
            names = [value.name for value in enum.values]
            self.components[enum.type_name] = {"type": "string", "enum": names, "description": "\n".join(said).strip()}
        return {"$ref": f"#/components/schemas/{enum.type_name}"}
