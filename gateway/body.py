"""Reads a JSON body against the type it must have, and says exactly what is wrong with it (rule 10)."""

from collections.abc import Mapping
from typing import Any

from protobuf import (
    DescEnum,
    DescField,
    DescFieldValueList,
    DescFieldValueMap,
    DescMessage,
    Registry,
    ScalarType,
    message_from_json_value,
)

from gateway.fields import WRAPPERS, element_of, is_json_scalar, oneof_of
from gateway.json_text import BadJson, JsonPath, load, offset_of, written
from gateway.parameters import is_number_text, is_numeric
from gateway.refusal import Refused, refusal
from gateway.settings import Settings

CODEC_ERRORS = (ValueError, TypeError, OverflowError, RecursionError, EOFError, KeyError)
"""What the codec raises for JSON or bytes that do not fit a message."""


class _Fault(Exception):
    def __init__(self, path: JsonPath, problem: str, *, reason: str = "INVALID_FIELD", at_key: bool = False) -> None:
        self.path, self.problem, self.reason, self.at_key = path, problem, reason, at_key


class BodyReader:
    """Reads bodies as messages of one registry."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._settings = settings
        self._registry = registry
        self._lenient = settings.unknown_body_fields == "ignore"
        self._names: dict[str, Mapping[str, DescField]] = {}
        self._free: dict[DescField, bool] = {}

    def read(self, body: bytes, *, start: int = 0) -> object:
        """Reads a body, or the part of one that starts at a byte, as strict JSON; 400 with the byte otherwise."""
        limits = self._settings
        try:
            return load(body, max_depth=limits.max_json_depth, max_number_characters=limits.max_number_characters)
        except BadJson as error:
            at = "" if error.offset is None else f", byte {start + error.offset}"
            raise refusal(400, "INVALID_JSON", f"the body is no valid JSON{at}: {error}") from None

    def fill(self, request: DescMessage, wrap: tuple[DescField, ...], tree: Any, body: bytes, *, start: int = 0) -> Any:
        """Returns a request whose field at `wrap` (the whole request, if empty) holds the body."""
        value = tree
        for step in reversed(wrap):
            value = {step.name: value}
        names: JsonPath = tuple(step.name for step in wrap)
        try:
            self._check(request, value, (), probe=False)
            try:
                return message_from_json_value(
                    request.type, value, registry=self._registry, ignore_unknown_fields=self._lenient
                )
            except CODEC_ERRORS as error:
                self._check(request, value, (), probe=True)
                raise _Fault(names, str(error)) from None
        except _Fault as fault:
            raise self._refused(fault, len(wrap), body, start) from None

    def sets(self, message: DescMessage, tree: Any, steps: tuple[DescField, ...]) -> bool:
        """Tells whether a body sets the field at `steps`, under either name, or a oneof sibling on the way there."""
        for step in steps:
            if not isinstance(tree, dict):
                return False
            names = self._fields(message)
            oneof = oneof_of(step)
            below = None
            for key, value in tree.items():
                field = names.get(key)
                if field is None or value is None:
                    continue
                if field is step:
                    below = value
                elif oneof is not None and oneof_of(field) is oneof:
                    return True
            if below is None:
                return False
            tree = below
            element = element_of(step)
            if isinstance(element, DescMessage):
                message = element
        return True

    def _refused(self, fault: _Fault, wrapped: int, body: bytes, start: int) -> Refused:
        path = fault.path[wrapped:]
        offset = offset_of(body, path, key=fault.at_key)
        place = f"the body's {written(path)!r}" if path else "the body"
        at = "" if offset is None else f", byte {start + offset}"
        return refusal(400, fault.reason, f"{place}{at}: {fault.problem}", field_path=written(fault.path))

    def _check(self, message: DescMessage, tree: Any, path: JsonPath, *, probe: bool) -> None:
        """Raises the first fault: names, and numbers in strings; with `probe` also the value the codec refuses."""
        if not isinstance(tree, dict):
            raise _Fault(path, f"expected an object with the fields of {message.type_name}, got {_kind(tree)}")
        names = self._fields(message)
        seen: set[int] = set()
        for key, value in tree.items():
            here = (*path, key)
            field = names.get(key)
            if field is None:
                if self._lenient or key.startswith("["):
                    continue
                raise _Fault(here, f"{message.type_name} has no field {key!r}", reason="UNKNOWN_FIELD", at_key=True)
            if field.number in seen:
                raise _Fault(here, f"{field.name!r} is set twice, under both of its names", at_key=True)
            seen.add(field.number)
            if not probe and self._is_free(field):
                continue
            self._check_field(message, field, value, here, probe=probe)

    def _check_field(self, message: DescMessage, field: DescField, value: Any, path: JsonPath, *, probe: bool) -> None:
        element: ScalarType | DescEnum | DescMessage | None = element_of(field)
        items: list[tuple[JsonPath, Any]] = [(path, value)]
        if isinstance(field.value, DescFieldValueList) and isinstance(value, list):
            items = [((*path, index), item) for index, item in enumerate(value)]
        elif isinstance(field.value, DescFieldValueMap) and isinstance(value, dict):
            element = field.value.value
            items = [((*path, key), item) for key, item in value.items()]
        scalar = WRAPPERS.get(element.type_name) if isinstance(element, DescMessage) else element
        nested = isinstance(element, DescMessage) and not is_json_scalar(element)
        numeric = isinstance(scalar, ScalarType) and is_numeric(scalar)
        for place, item in items:
            if numeric and isinstance(item, str) and isinstance(scalar, ScalarType):
                if len(item) > self._settings.max_number_characters or not is_number_text(item, scalar):
                    raise _Fault(place, f"{item[:60]!r} is no number of type {scalar.name.lower()}")
            elif isinstance(element, DescEnum) and _is_beyond_enums(item):
                raise _Fault(place, f"{str(item)[:60]} is no number of an enum")
            elif nested and isinstance(item, dict) and isinstance(element, DescMessage):
                self._check(element, item, place, probe=probe)
        if not probe:
            return
        for place, item in items:
            alone = item
            if place != path:
                alone = [item] if isinstance(field.value, DescFieldValueList) else {str(place[-1]): item}
            try:
                message_from_json_value(
                    message.type,
                    {field.json_name: alone},
                    registry=self._registry,
                    ignore_unknown_fields=self._lenient,
                )
            except CODEC_ERRORS as error:
                # A wrong type is said already; anything else (a range, a date) only the codec knows.
                why = "" if isinstance(error, TypeError) else f" ({error})"
                got = _shown(item) if numeric or isinstance(element, DescEnum) else _kind(item)
                raise _Fault(place, f"expected {_expected(element)}, got {got}{why}") from None

    def _is_free(self, field: DescField) -> bool:
        """Tells whether the codec finds all that may be wrong with a field: text and truth values, also many."""
        free = self._free.get(field)
        if free is None:
            element = element_of(field)
            free = self._free[field] = isinstance(element, ScalarType) and not is_numeric(element)
        return free

    def _fields(self, message: DescMessage) -> Mapping[str, DescField]:
        """Returns a message's fields by both of their names."""
        names = self._names.get(message.type_name)
        if names is None:
            names = {field.json_name: field for field in message.fields} | {
                field.name: field for field in message.fields
            }
            self._names[message.type_name] = names
        return names


def _is_beyond_enums(item: Any) -> bool:
    """Tells numbers that no enum can have; the codec would take them, and fail only when it writes the message."""
    if isinstance(item, str) and is_number_text(item, ScalarType.INT32):
        return True  # a number is no name
    return isinstance(item, int | float) and not isinstance(item, bool) and not -(2**31) <= item < 2**31


def _expected(element: ScalarType | DescEnum | DescMessage | None) -> str:
    if isinstance(element, DescEnum):
        names = [value.name for value in element.values]
        return "one of " + ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    if isinstance(element, DescMessage):
        return element.type_name
    if element is None:
        return "an object"
    return {ScalarType.BOOL: "true or false", ScalarType.BYTES: "base64"}.get(element, element.name.lower())


def _kind(value: object) -> str:
    """Returns what a value is without repeating it: it may be a password in the wrong place."""
    if isinstance(value, str):
        return "a string"
    return "a number" if isinstance(value, int | float) and not isinstance(value, bool) else _shown(value)


def _shown(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    return f"{'the string' if isinstance(value, str) else 'the number'} {repr(value)[:60]}"
