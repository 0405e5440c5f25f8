"""Strict JSON: limits, duplicate keys, and where in the text a value stands (rules 10 and 12)."""

import json
import math
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import NoReturn

JsonPath = tuple[str | int, ...]

# An unterminated string runs to the end, and nothing is tried twice: the time stays linear on any bytes.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+\\?(?:"|\Z)', re.DOTALL)
_DECODER = json.JSONDecoder()
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"|[\[\]{},:]|[^\s\[\]{},:"]+')


class BadJson(ValueError):
    """The text is no JSON this gateway takes."""

    def __init__(self, problem: str, offset: int | None = None) -> None:
        super().__init__(problem)
        self.offset = offset
        """The byte to look at."""


class _Duplicate(Exception):
    """Stops the reading at a key that stands twice in its object."""


def load(body: bytes, *, max_depth: int, max_number_characters: int) -> object:
    """Reads JSON strictly: UTF-8, no duplicate keys, no NaN, no lone surrogates, not too deep, no endless numbers.

    Raises:
        BadJson: it is none, with the byte offset where that shows.
    """
    _check_limits(body, max_depth, max_number_characters)
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadJson(f"no UTF-8: {error.reason}", error.start) from None
    try:
        read = _STRICT.decode(text)
        if "\\u" in text:
            json.dumps(read, ensure_ascii=False).encode("utf-8")
    except _Duplicate:
        raise _first_duplicate(text) from None
    except json.JSONDecodeError as error:
        raise BadJson(error.msg, len(text[: error.pos].encode("utf-8"))) from None
    except UnicodeEncodeError:
        raise BadJson("a \\u escape is half of a surrogate pair") from None
    return read


def elements(body: bytes, *, max_depth: int, max_number_characters: int) -> Iterator[tuple[int, bytes]]:
    """Yields the elements of a JSON array as they stand in the text, each with the byte it starts at.

    Raises:
        BadJson: the text is no array. An element itself is only told apart here; `load` reads it.
    """
    _check_limits(body, max_depth + 1, max_number_characters)
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadJson(f"no UTF-8: {error.reason}", error.start) from None
    start = position = _after(text, 0, "[", "a client stream takes an array of messages")
    offset = len(text[:position].encode())
    if text[position : position + 1] == "]":
        position += 1
    else:
        while True:
            try:
                _, end = _DECODER.raw_decode(text, position)
            except json.JSONDecodeError as error:
                raise BadJson(error.msg, len(text[: error.pos].encode())) from None
            element = text[position:end].encode("utf-8", "replace")
            offset += len(text[start:position].encode())
            yield offset, element
            offset, start, position = offset + len(element), end, _skipped(text, end)
            if text[position : position + 1] == "]":
                position += 1
                break
            position = _after(text, position, ",", "expected `,` or `]`")
    if (position := _skipped(text, position)) < len(text):
        raise BadJson("there is more after the array", len(text[:position].encode()))


def offset_of(body: bytes, path: JsonPath, *, key: bool = False) -> int | None:
    """Returns the byte where the value at a path starts (or its key), in a text that `load` has read."""
    text = body.decode("utf-8")
    for is_key, at_path, position in _positions(text):
        if at_path == path and is_key is key:
            return len(text[:position].encode("utf-8"))
    return None


def written(path: JsonPath) -> str:
    """Returns a path as people write it: `orders[2].amount`."""
    parts = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return parts.removeprefix(".")


def _skipped(text: str, position: int) -> int:
    """Returns the position after white space."""
    while position < len(text) and text[position] in " \t\n\r":
        position += 1
    return position


def _after(text: str, position: int, mark: str, problem: str) -> int:
    """Returns the position after a mark and the white space around it."""
    position = _skipped(text, position)
    if text[position : position + 1] != mark:
        raise BadJson(problem, len(text[:position].encode()))
    return _skipped(text, position + 1)


def _check_limits(body: bytes, max_depth: int, max_number_characters: int) -> None:
    deep = body.count(b"{") + body.count(b"[") > max_depth
    if not deep and len(body) <= max_number_characters:
        return
    bare = _STRING.sub(b"", body)
    if re.search(rb"[0-9.eE+-]{%d}" % (max_number_characters + 1), bare):
        raise BadJson(f"a number has more than {max_number_characters} characters")
    depth = 0
    for bracket in re.findall(rb"[\[\]{}]", bare) if deep else ():
        depth += 1 if bracket in b"[{" else -1
        if depth > max_depth:
            raise BadJson(f"nested deeper than {max_depth} levels")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    read = dict(pairs)
    if len(read) != len(pairs):
        raise _Duplicate
    return read


def _number(text: str) -> float | int:
    """Reads a number with a fraction or exponent; a whole one beyond 2^53 keeps every digit."""
    number = float(text)
    if math.isinf(number):
        raise BadJson(f"the number {text[:40]} is too large")
    if abs(number) > 2**53 and abs(number) < 2**65 and number.is_integer():
        exact = Decimal(text)
        return int(exact) if exact == exact.to_integral_value() else number
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise BadJson(f'{name} is no JSON number; a floating-point field takes the string "{name}"')


_STRICT = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_number)


def _first_duplicate(text: str) -> BadJson:
    seen: set[JsonPath] = set()
    for is_key, path, position in _positions(text):
        if is_key and path in seen:
            return BadJson(f"{written(path)!r} stands twice", len(text[:position].encode("utf-8")))
        if is_key:
            seen.add(path)
    return BadJson("a key stands twice")


def _positions(text: str) -> Iterator[tuple[bool, JsonPath, int]]:
    """Yields every key (True) and value (False) of a JSON text with its path and the character it starts at."""
    path: list[str | int] = []
    key_next = False
    for found in _TOKEN.finditer(text):
        mark = found.group()
        if mark == ":":
            continue
        if mark == ",":
            step = path[-1]
            key_next = isinstance(step, str)
            if isinstance(step, int):
                path[-1] = step + 1
        elif mark in ("}", "]"):
            path.pop()
            key_next = False
        elif key_next:
            path[-1] = json.loads(mark)
            key_next = False
            yield True, tuple(path), found.start()
        else:
            yield False, tuple(path), found.start()
            if mark == "{":
                path.append("")
                key_next = True
            elif mark == "[":
                path.append(0)
