"""What a path and a query say: their text, and the value a field gets from it (rules 8 and 9)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from protobuf import DescEnum, DescField, DescMessage, ScalarType

from gateway import percent
from gateway.fields import TEXT_TYPES, WRAPPERS, element_of, kind_of

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", re.ASCII)
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)", re.ASCII)
_MASK = re.compile(r"(?:[A-Za-z_][A-Za-z0-9_.]*(?:,[A-Za-z_][A-Za-z0-9_.]*)*)?", re.ASCII)
_FLOATS = {ScalarType.DOUBLE, ScalarType.FLOAT}
_NO_FINITE = frozenset({"NaN", "Infinity", "-Infinity"})
_SYSTEM_TRUE = frozenset({"", "true", "1"})


class BadParameter(ValueError):
    """The text is no value of the field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerOptions:
    """What a request asks of its answer by system parameters."""

    enums_as_numbers: bool = False
    pretty: bool = False
    defaults: str | None = None
    int64: str | None = None


def pairs(raw_query: str) -> Iterator[tuple[str, str]]:
    """Yields the decoded names and values of a query, in order.

    Raises:
        BadEscape: a name or value cannot be decoded.
    """
    for part in raw_query.split("&"):
        if part:
            name, _, value = part.partition("=")
            yield percent.decode_plus(name), percent.decode_plus(value)


def json_value(field: DescField, text: str) -> object:
    """Returns the ProtoJSON of a field's value (of one element, in a list) from the text of a parameter.

    Raises:
        BadParameter: the text does not look like a value of that type. Ranges are the codec's matter.
    """
    element = element_of(field)
    if isinstance(element, DescMessage):
        if element.type_name == "google.protobuf.FieldMask":
            if not _MASK.fullmatch(text):
                raise BadParameter(f"{text[:60]!r} is no field mask: write paths of field names, as a,b.cD")
            return ",".join(_camel(path) for path in text.split(","))
        if element.type_name in TEXT_TYPES:
            return text
        scalar = WRAPPERS.get(element.type_name)
        if scalar is None:
            raise BadParameter(f"a parameter cannot set a field {kind_of(field)}")
        return _scalar(scalar, text)
    if isinstance(element, DescEnum):
        if not _INTEGER.fullmatch(text):
            return text
        # Beyond int32 the codec would only notice when it is too late to say which field it is.
        if len(text) > 11 or not -(2**31) <= int(text) < 2**31:
            raise BadParameter(f"{text[:60]!r} is no number of an enum")
        return int(text)
    if element is None:
        raise BadParameter("a parameter cannot set a map")
    return _scalar(element, text)


def is_number_text(text: str, scalar: ScalarType) -> bool:
    """Tells whether a string holds a number as ProtoJSON writes it. `int()` would take `1_0`, `+1` and `１` too."""
    if scalar in _FLOATS:
        return bool(_NUMBER.fullmatch(text)) or text in _NO_FINITE
    return bool(_NUMBER.fullmatch(text))


def is_numeric(scalar: ScalarType) -> bool:
    return scalar not in (ScalarType.STRING, ScalarType.BYTES, ScalarType.BOOL)


def answer_options(name: str, value: str, before: AnswerOptions) -> AnswerOptions:
    """Reads a system parameter into the options of the answer.

    `$alt=json` may carry `enum-encoding=int`, `defaults=none|scalars|all` and `int64=string|number-if-safe|number`.

    Raises:
        BadParameter: the value asks for what is not served.
    """
    if name == "prettyPrint":
        return replace(before, pretty=value in _SYSTEM_TRUE)
    if name not in ("alt", "$alt"):
        return before
    form, *extras = value.split(";")
    if form != "json":
        raise BadParameter(f"answers come as json, not as {form!r}")
    for extra in extras:
        key, _, choice = extra.partition("=")
        if key not in _CHOICES or choice not in _CHOICES[key]:
            raise BadParameter(f"{extra!r} is none of " + ", ".join(f"{k}={'|'.join(v)}" for k, v in _CHOICES.items()))
        if key == "enum-encoding":
            before = replace(before, enums_as_numbers=choice == "int")
        elif key == "defaults":
            before = replace(before, defaults=choice)
        else:
            before = replace(before, int64=choice)
    return before


_CHOICES = {
    "enum-encoding": ("string", "int"),
    "defaults": ("none", "scalars", "all"),
    "int64": ("string", "number-if-safe", "number"),
}


def _scalar(scalar: ScalarType, text: str) -> object:
    if scalar in (ScalarType.STRING, ScalarType.BYTES):
        return text
    if scalar is ScalarType.BOOL:
        if text not in ("true", "false"):
            raise BadParameter(f"{text!r} is no bool: write true or false")
        return text == "true"
    if not is_number_text(text, scalar):
        raise BadParameter(f"{text[:60]!r} is no number of type {scalar.name.lower()}")
    return text


def _camel(path: str) -> str:
    """Returns the JSON form of a mask's path, which may be written with proto names."""
    return re.sub(r"_([a-z0-9])", lambda letter: letter[1].upper(), path)
