"""Dotted field paths of a message: each step by proto name or JSON name, case-sensitive (rule 7)."""

from dataclasses import dataclass

from protobuf import (
    DescEnum,
    DescField,
    DescFieldValueEnum,
    DescFieldValueList,
    DescFieldValueMap,
    DescFieldValueMessage,
    DescFieldValueScalar,
    DescMessage,
    DescOneof,
    ScalarType,
)

MAX_STEPS = 32
"""Deeper paths are no honest ones; protobuf itself ends at 100."""


class NoSuchField(ValueError):
    """The path leads to nothing that can be set; the message says which step fails."""


@dataclass(frozen=True, slots=True)
class FieldPath:
    """A resolved path."""

    steps: tuple[DescField, ...]

    @property
    def last(self) -> DescField:
        return self.steps[-1]

    @property
    def repeated(self) -> bool:
        return isinstance(self.last.value, DescFieldValueList)

    @property
    def is_string(self) -> bool:
        """Whether it is a single string of the message itself."""
        value = self.last.value
        return len(self.steps) == 1 and isinstance(value, DescFieldValueScalar) and value.scalar is ScalarType.STRING

    @property
    def numbers(self) -> tuple[int, ...]:
        """Identifies the field, however it is spelled."""
        return tuple(step.number for step in self.steps)

    @property
    def name(self) -> str:
        """The path in proto names."""
        return ".".join(step.name for step in self.steps)

    def wrapped(self, value: object) -> dict[str, object]:
        """Returns the JSON of a message where only this field has a value."""
        for step in reversed(self.steps):
            value = {step.json_name: value}
        return value  # type: ignore[return-value]


class Claims:
    """Which fields have been set by what, so that nothing sets one twice."""

    def __init__(self) -> None:
        self._fields: dict[tuple[int, ...], str] = {}
        self._members: dict[tuple[tuple[int, ...], str], tuple[int, str]] = {}

    def claim(self, path: FieldPath, by: str) -> str | None:
        """Claims a field, and returns what claimed it before: the same field, or another member of its oneof."""
        numbers = path.numbers
        for index, step in enumerate(path.steps):
            if oneof := oneof_of(step):
                number, before = self._members.setdefault((numbers[:index], oneof.name), (step.number, by))
                if number != step.number:
                    return before
        before_field = self._fields.get(numbers)
        self._fields.setdefault(numbers, by)
        return None if path.repeated and before_field == by else before_field


def field_named(message: DescMessage, name: str) -> DescField | None:
    """Returns the field with a proto or JSON name; where one name means two fields, the proto name counts."""
    json_named = None
    for field in message.fields:
        if field.name == name:
            return field
        if field.json_name == name:
            json_named = field
    return json_named


def resolve(message: DescMessage, path: str) -> FieldPath:
    """Resolves a dotted path to a field.

    Raises:
        NoSuchField: a step names no field, or leads through a list, a map or a scalar.
    """
    steps: list[DescField] = []
    names = path.split(".")
    if len(names) > MAX_STEPS:
        raise NoSuchField(f"{path[:60]!r}… has more than {MAX_STEPS} steps")
    for name in names:
        if steps:
            value = steps[-1].value
            if not isinstance(value, DescFieldValueMessage) or is_json_scalar(value.message):
                raise NoSuchField(f"{path!r}: {steps[-1].name!r} has no fields to name, it is {kind_of(steps[-1])}")
            message = value.message
        field = field_named(message, name)
        if field is None:
            raise NoSuchField(f"{path!r}: {message.type_name} has no field {name!r}")
        steps.append(field)
    return FieldPath(tuple(steps))


def oneof_of(field: DescField) -> DescOneof | None:
    """Returns the oneof a field is a member of; an `optional` field is in none."""
    value = field.value
    if isinstance(value, DescFieldValueScalar | DescFieldValueMessage | DescFieldValueEnum):
        return value.oneof
    return None


def element_of(field: DescField) -> ScalarType | DescMessage | DescEnum | None:
    """Returns the type of a field's value or elements, or None for a map."""
    value = field.value
    if isinstance(value, DescFieldValueScalar):
        return value.scalar
    if isinstance(value, DescFieldValueEnum):
        return value.enum
    if isinstance(value, DescFieldValueMessage):
        return value.message
    return None if isinstance(value, DescFieldValueMap) else value.element


def is_json_scalar(message: DescMessage) -> bool:
    """Tells whether a message has a JSON form of its own, so that its fields cannot be named one by one."""
    return message.type_name in TEXT_TYPES or message.type_name in WRAPPERS or message.type_name in FREE_TYPES


def kind_of(field: DescField) -> str:
    """Returns the type of a field in words."""
    if isinstance(field.value, DescFieldValueMap):
        return "a map"
    element = element_of(field)
    named = element.name.lower() if isinstance(element, ScalarType) else getattr(element, "type_name", "")
    return f"a list of {named}" if isinstance(field.value, DescFieldValueList) else f"of type {named}"


TEXT_TYPES = frozenset({"google.protobuf.Timestamp", "google.protobuf.Duration", "google.protobuf.FieldMask"})
"""Written as one string."""
WRAPPERS = {
    "google.protobuf.DoubleValue": ScalarType.DOUBLE,
    "google.protobuf.FloatValue": ScalarType.FLOAT,
    "google.protobuf.Int64Value": ScalarType.INT64,
    "google.protobuf.UInt64Value": ScalarType.UINT64,
    "google.protobuf.Int32Value": ScalarType.INT32,
    "google.protobuf.UInt32Value": ScalarType.UINT32,
    "google.protobuf.BoolValue": ScalarType.BOOL,
    "google.protobuf.StringValue": ScalarType.STRING,
    "google.protobuf.BytesValue": ScalarType.BYTES,
}
"""Written as their bare value."""
FREE_TYPES = frozenset(
    {"google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue", "google.protobuf.Any"}
)
"""Whose JSON has no fixed fields."""
