"""What the protos say about their elements: the comments before them, by full name."""

from collections.abc import Iterator, Mapping
from typing import Any

from protobuf import DescFile, Registry

# Field numbers in descriptor.proto, which are the steps of a comment's path.
_MESSAGES, _ENUMS, _SERVICES = 4, 5, 6
_FIELDS, _NESTED, _NESTED_ENUMS = 2, 3, 4
_MEMBERS = 2


def comments_of(registry: Registry) -> Mapping[str, str]:
    """Returns the comment of every element that has one."""
    found: dict[str, str] = {}
    for file in registry:
        if not isinstance(file, DescFile) or file.proto.source_code_info is None:
            continue
        places = {
            tuple(location.path): _text(location.leading_comments or location.trailing_comments)
            for location in file.proto.source_code_info.location
            if location.leading_comments or location.trailing_comments
        }
        for path, name in _named(file.proto):
            if path in places:
                found[name] = places[path]
    return found


def summary_of(comment: str) -> str:
    """Returns a comment's first sentence."""
    first, stop, _ = comment.replace("\n", " ").partition(". ")
    return first + "." if stop else first


def _text(comment: str) -> str:
    return "\n".join(line.removeprefix(" ") for line in comment.strip("\n").splitlines()).strip()


def _named(file: Any) -> Iterator[tuple[tuple[int, ...], str]]:
    prefix = f"{file.package}." if file.package else ""
    for index, message in enumerate(file.message_type):
        yield from _message((_MESSAGES, index), prefix + message.name, message)
    for index, enum in enumerate(file.enum_type):
        yield from _enum((_ENUMS, index), prefix + enum.name, enum)
    for index, service in enumerate(file.service):
        yield (_SERVICES, index), prefix + service.name
        for number, method in enumerate(service.method):
            yield (_SERVICES, index, _MEMBERS, number), f"{prefix}{service.name}.{method.name}"


def _message(path: tuple[int, ...], name: str, message: Any) -> Iterator[tuple[tuple[int, ...], str]]:
    yield path, name
    for index, field in enumerate(message.field):
        yield (*path, _FIELDS, index), f"{name}.{field.name}"
    for index, nested in enumerate(message.nested_type):
        yield from _message((*path, _NESTED, index), f"{name}.{nested.name}", nested)
    for index, enum in enumerate(message.enum_type):
        yield from _enum((*path, _NESTED_ENUMS, index), f"{name}.{enum.name}", enum)


def _enum(path: tuple[int, ...], name: str, enum: Any) -> Iterator[tuple[tuple[int, ...], str]]:
    yield path, name
    for index, value in enumerate(enum.value):
        yield (*path, _MEMBERS, index), f"{name}.{value.name}"
