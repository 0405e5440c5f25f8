"""Writes replies as JSON: the field the rule shows, 64-bit integers and defaults as asked for (rule 13)."""

import json
from typing import Any

from protobuf import (
    DescEnum,
    DescField,
    DescFieldValueList,
    DescFieldValueMap,
    DescFieldValueMessage,
    DescMessage,
    Registry,
    ScalarType,
    message_to_json_value,
)

from gateway.body import CODEC_ERRORS
from gateway.fields import FREE_TYPES, WRAPPERS, element_of, is_json_scalar
from gateway.parameters import AnswerOptions
from gateway.refusal import Refused, refusal
from gateway.routes import Route
from gateway.settings import Settings

_LONG = frozenset({ScalarType.INT64, ScalarType.UINT64, ScalarType.SINT64, ScalarType.FIXED64, ScalarType.SFIXED64})
_SAFE = 2**53

_Element = ScalarType | DescEnum | DescMessage | None


class Renderer:
    """Writes the replies of one registry's rpcs."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._settings = settings
        self._registry = registry

    def parse(self, route: Route, reply: bytes) -> Any:
        """Returns the message of a reply's bytes.

        Raises:
            Refused: they are none of that type, with 502.
        """
        try:
            return route.response.type.from_binary(reply)
        except CODEC_ERRORS as error:
            raise _bad_reply(route, error) from None

    def render(self, route: Route, message: Any, answer: AnswerOptions) -> bytes:
        """Returns the JSON body for a reply.

        Raises:
            Refused: the reply has no JSON form (an `Any` of a type that is not in the descriptor set), with 502.
        """
        try:
            return self._render(route, message, answer)
        except CODEC_ERRORS as error:
            raise _bad_reply(route, error) from None

    def _render(self, route: Route, message: Any, answer: AnswerOptions) -> bytes:
        defaults = answer.defaults or self._settings.defaults
        int64 = answer.int64 or self._settings.int64
        shown = route.response_body
        plain = defaults == "none" and int64 == "string" and not answer.enums_as_numbers and not answer.pretty
        if plain and shown is None:
            return str(message.to_json(registry=self._registry)).encode("utf-8")
        if plain and shown is not None and shown in message and hasattr(message[shown], "to_json"):
            return str(message[shown].to_json(registry=self._registry)).encode("utf-8")
        tree = self._tree(message, answer, always_emit_implicit=defaults != "none")
        if shown is not None:
            tree = tree[shown.json_name] if shown.json_name in tree else self._default(message, shown, answer)
        tree = self._adapted(shown or route.response, tree, defaults, int64)
        indent, separators = (2, None) if answer.pretty else (None, (",", ":"))
        return json.dumps(tree, ensure_ascii=False, indent=indent, separators=separators).encode("utf-8")

    def _tree(self, message: Any, answer: AnswerOptions, *, always_emit_implicit: bool) -> Any:
        return message_to_json_value(
            message,
            registry=self._registry,
            always_emit_implicit=always_emit_implicit,
            print_enums_as_ints=answer.enums_as_numbers,
        )

    def _default(self, message: Any, shown: DescField, answer: AnswerOptions) -> Any:
        """Returns what an answer shows for a field that the reply does not have: its default, `{}` for a message."""
        element = element_of(shown)
        if isinstance(element, DescMessage) and isinstance(shown.value, DescFieldValueMessage):
            return None if is_json_scalar(element) else {}
        return self._tree(message, answer, always_emit_implicit=True).get(shown.json_name)

    def _adapted(self, part: DescField | DescMessage, tree: Any, defaults: str, int64: str) -> Any:
        """Returns a field's or message's JSON with its integers and defaults in the asked form."""
        if isinstance(part, DescMessage):
            return self._element(part, tree, defaults, int64)
        element = element_of(part)
        if isinstance(part.value, DescFieldValueMap):
            return {key: self._element(part.value.value, value, defaults, int64) for key, value in tree.items()}
        if isinstance(part.value, DescFieldValueList):
            return [self._element(element, value, defaults, int64) for value in tree]
        return self._element(element, tree, defaults, int64)

    def _element(
        self, element: ScalarType | DescEnum | DescMessage | None, tree: Any, defaults: str, int64: str
    ) -> Any:
        if isinstance(element, DescMessage):
            element = WRAPPERS.get(element.type_name, element)
        if isinstance(element, ScalarType):
            return _integer(tree, int64) if element in _LONG else tree
        if not isinstance(element, DescMessage) or not isinstance(tree, dict) or element.type_name in FREE_TYPES:
            return tree
        adapted = {}
        for field in element.fields:
            if field.json_name not in tree:
                continue
            value = tree[field.json_name]
            many = isinstance(field.value, DescFieldValueList | DescFieldValueMap)
            if defaults != "all" and many and not value:
                continue
            adapted[field.json_name] = self._adapted(field, value, defaults, int64)
        return adapted


def _bad_reply(route: Route, error: Exception) -> Refused:
    return refusal(502, "BAD_REPLY", f"the service's reply is no valid {route.response.type_name}: {error}")


def _integer(text: Any, int64: str) -> Any:
    if int64 == "string" or not isinstance(text, str):
        return text
    number = int(text)
    return text if int64 == "number-if-safe" and abs(number) > _SAFE else number
