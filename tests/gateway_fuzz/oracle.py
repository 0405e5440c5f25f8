"""What is right, judged by Google's protobuf and by plain regular expressions: nothing of the gateway's own code."""

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any
from urllib.parse import unquote, unquote_plus

from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from tests.unit_gateway.schema import compiled

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_MASK = re.compile(r"[a-z][A-Za-z0-9]*(\.[a-z][A-Za-z0-9]*)*(,[a-z][A-Za-z0-9]*(\.[a-z][A-Za-z0-9]*)*)*")
_VARIABLE = re.compile(r"\{(?P<name>[^=}]+)(=(?P<pattern>[^}]+))?\}")
_WILD = re.compile(r"\*\*?")
_SIGNED = frozenset({FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64})
_NUMBERS = _SIGNED | {
    FieldDescriptor.CPPTYPE_UINT32,
    FieldDescriptor.CPPTYPE_UINT64,
    FieldDescriptor.CPPTYPE_DOUBLE,
    FieldDescriptor.CPPTYPE_FLOAT,
}


@cache
def message_type() -> Any:
    """Returns the class of the message that every request fills."""
    pool = descriptor_pool.DescriptorPool()
    for file in FileDescriptorSet.FromString(compiled()).file:
        pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("cases.Proto3Message"))


def body_faults(body: bytes) -> set[str]:
    """Returns what Google's parser has against a body: `syntax`, or `unknown field`, or `value`, or both of these."""
    try:
        tree = json.loads(body, parse_constant=_no_constant)
    except ValueError:
        return {"syntax"}
    descriptor = message_type().DESCRIPTOR
    faults = {"unknown field"} if _has_unknown(tree, descriptor) else set()
    try:
        json_format.ParseDict(tree, message_type()(), ignore_unknown_fields=True)
    except json_format.ParseError:
        return faults | {"value"}
    return faults if _lexical(tree, descriptor) else faults | {"value"}


def _has_unknown(tree: Any, message: Descriptor | None) -> bool:
    if isinstance(tree, list):
        return any(_has_unknown(each, message) for each in tree)
    if not isinstance(tree, dict) or not _is_ours(message):
        return False
    named = {name: field for field in message.fields for name in (field.name, field.json_name)} if message else {}
    return any(name not in named or _has_unknown(value, named[name].message_type) for name, value in tree.items())


def _is_ours(message: Descriptor | None) -> bool:
    """Tells whether JSON of a message has its fields as names, unlike that of well-known types and of maps."""
    return message is not None and message.file.package == "cases" and not message.GetOptions().map_entry


def _lexical(tree: Any, message: Descriptor | None) -> bool:
    """Tells whether numbers and enums are written as ProtoJSON does; Google's parser takes `"01"` and `1.0`, too."""
    if not isinstance(tree, dict) or not _is_ours(message):
        return True
    for field in message.fields if message else ():
        for value in (tree[name] for name in {field.name, field.json_name} & tree.keys()):
            for each in value if isinstance(value, list) else [value]:
                if isinstance(each, str) and not _well_written(field, each):
                    return False
                if isinstance(each, float) and field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
                    return False  # an enum's number is written without a fraction
                if not _lexical(each, field.message_type):
                    return False
    return True


def _well_written(field: FieldDescriptor, text: str) -> bool:
    kind = field.cpp_type
    if field.message_type is not None and field.message_type.file.name.endswith("wrappers.proto"):
        kind = field.message_type.fields_by_name["value"].cpp_type
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return field.enum_type is not None and text in field.enum_type.values_by_name
    if kind in _NUMBERS:
        return bool(_NUMBER.fullmatch(text)) or text in ("NaN", "Infinity", "-Infinity")
    return True


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


def parameters(target: str) -> Iterator[tuple[str, str]]:
    """Yields names and values of a target's query, decoded."""
    for part in target.partition("?")[2].split("&"):
        if part:
            name, _, value = part.partition("=")
            yield unquote_plus(name), unquote_plus(value)


def steps(name: str) -> list[FieldDescriptor]:
    """Returns the fields a dotted name goes through, by proto or JSON name; none if it names none."""
    message: Descriptor | None = message_type().DESCRIPTOR
    found: list[FieldDescriptor] = []
    for part in name.split("."):
        field = next((f for f in message.fields if part in (f.name, f.json_name)), None) if message else None
        if field is None:
            return []
        found.append(field)
        message = field.message_type
    return found


def is_value(name: str, text: str) -> bool:
    """Tells whether a text is a value of a field as ProtoJSON writes it."""
    path = steps(name)
    if not path:
        return False
    field = path[-1]
    wrapped = field.message_type
    if wrapped is not None and wrapped.full_name == "google.protobuf.FieldMask":
        return bool(_MASK.fullmatch(text))
    if wrapped is not None and wrapped.full_name.endswith("Value") and wrapped.file.name.endswith("wrappers.proto"):
        kind = wrapped.fields_by_name["value"].cpp_type
    else:
        kind = field.cpp_type
    value: Any = text
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        if text not in ("true", "false"):
            return False
        value = text == "true"
    elif kind in _NUMBERS and not _NUMBER.fullmatch(text):
        return kind not in _SIGNED and text in ("NaN", "Infinity", "-Infinity")
    elif kind == FieldDescriptor.CPPTYPE_ENUM:
        if re.fullmatch(r"-?(0|[1-9][0-9]*)", text):
            value = int(text)
        elif not _well_written(field, text):
            return False
    elif field.type == FieldDescriptor.TYPE_BYTES and not re.fullmatch(r"[A-Za-z0-9+/_-]*={0,2}", text):
        return False
    repeated = field.is_repeated
    for step in reversed(path):
        value = {step.name: [value] if repeated and step is field else value}
    try:
        json_format.ParseDict(value, message_type()())
    except json_format.ParseError:
        return False
    return True


def set_twice(target: str, body: bytes, body_rule: str | None, variables: tuple[str, ...]) -> bool:
    """Tells whether a request sets a singular field, or two fields of a oneof, more than once."""
    claimed: list[tuple[str, ...]] = [_names(steps(variable)) for variable in variables]
    for name, _ in parameters(target):
        path = steps(name)
        if path and not path[-1].is_repeated:
            claimed.append(_names(path))
    if body_rule is not None and body:
        inside = _names(steps(body_rule)) if body_rule else ()
        claimed += [(*inside, *leaf) for leaf in _leaves(json.loads(body), message_type().DESCRIPTOR)]
        if body_rule:
            claimed.append(inside)
    return any(
        one[: len(other)] == other or other[: len(one)] == one
        for index, one in enumerate(claimed)
        for other in claimed[index + 1 :]
        if not (inside_of_body(one, other, body_rule) or inside_of_body(other, one, body_rule))
    )


def captured(template: str, path: str) -> dict[str, str]:
    """Returns the text of a template's variables in a path that fits it."""

    def group(found: re.Match[str]) -> str:
        pattern = _WILD.sub(lambda wild: ".*" if wild[0] == "**" else "[^/]*", found["pattern"] or "*")
        names.append(found["name"])
        return f"({pattern})"

    names: list[str] = []
    parts = re.split(r"(\{[^}]*\})", template)
    expression = "".join(
        re.sub(_VARIABLE, group, part)
        if part.startswith("{")
        else _WILD.sub(lambda wild: ".*" if wild[0] == "**" else "[^/]*", part)
        for part in parts
    )
    # A `**` may stand for nothing: then its slash is not there.
    with_slash = re.sub(r"(:[^/:]*)?$", r"/\1", path, count=1)
    found = re.fullmatch(expression + "/?", path) or re.fullmatch(expression, with_slash)
    return dict(zip(names, map(unquote, found.groups()), strict=True)) if found else {}


def inside_of_body(one: tuple[str, ...], other: tuple[str, ...], body_rule: str | None) -> bool:
    """Tells whether one is the field of the body and the other something in it, which the body itself may set."""
    return bool(body_rule) and one == _names(steps(str(body_rule))) and len(other) > len(one)


def _names(path: list[FieldDescriptor]) -> tuple[str, ...]:
    """Returns a path's names; fields of one oneof have one name, since they exclude each other."""
    return tuple(_name(field) for field in path)


def _name(field: FieldDescriptor) -> str:
    oneof = field.containing_oneof
    return f"oneof {oneof.name}" if oneof is not None and len(oneof.fields) > 1 else field.name


def _leaves(tree: Any, message: Descriptor | None) -> Iterator[tuple[str, ...]]:
    if not isinstance(tree, dict) or message is None or not _is_ours(message):
        return
    for name, value in tree.items():
        field = next((f for f in message.fields if name in (f.name, f.json_name)), None)
        if field is None or value is None:
            continue
        inside = list(_leaves(value, None if field.is_repeated else field.message_type))
        yield from ((_name(field), *leaf) for leaf in inside)
        if not inside:
            yield (_name(field),)
