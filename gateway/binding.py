"""Builds the request message of an rpc from path, query and body (rules 7 to 11)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from protobuf import DescField, DescFieldValueMessage, DescMessage, Registry, ScalarType, merge_from_json

from gateway import percent, raw_bodies
from gateway.body import CODEC_ERRORS, BodyReader
from gateway.content import Content
from gateway.fields import Claims, FieldPath, NoSuchField, element_of, field_named, resolve
from gateway.masks import NoMask, mask_of
from gateway.parameters import AnswerOptions, BadParameter, answer_options, json_value, pairs
from gateway.refusal import refusal
from gateway.router import Match
from gateway.routes import Route
from gateway.settings import Settings

_MASK = "google.protobuf.FieldMask"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A request ready to be sent."""

    message: Any
    answer: AnswerOptions
    warnings: tuple[str, ...]
    """What was ignored and the client should know."""


class Binder:
    """Binds requests to the messages of one registry."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._settings = settings
        self._registry = registry
        self._bodies = BodyReader(settings, registry)

    def bind(
        self,
        match: Match[Route],
        raw_query: str,
        content: Content | bytes,
        *,
        request_id: str | None = None,
        resume_token: str | None = None,
    ) -> Bound:
        """Returns the request message; `request_id` and `resume_token` fill fields of that name if nothing else does.

        Raises:
            Refused: something in the request does not fit, with 400 and the field at fault.
        """
        route = match.target
        claims = Claims()
        if raw_query or len(route.variables) > 1:  # else nothing can set a field twice
            for path in route.variables:
                if claims.claim(path, "the path"):
                    raise refusal(400, "INVALID_FIELD", f"the path sets two members of one oneof: {path.name!r}")
        content = Content(content) if isinstance(content, bytes) else content
        message, tree = self._from_body(route, content)
        answer, warnings = self._from_query(route, message, raw_query, claims)
        for path, (name, text) in zip(route.variables, match.values, strict=True):
            self._set(message, path, text, f"the path's {name!r}")
        for name, given in (("request_id", request_id), ("resume_token", resume_token)):
            if given is not None:
                _fill(message, field_named(route.request, name), given)
        if route.method == "PATCH" and route.body and isinstance(tree, dict):
            self._set_mask(route, message, tree)
        return Bound(message=message, answer=answer, warnings=warnings)

    def part(self, route: Route, content: Content) -> Any:
        """Returns a message of a client stream after its first: path and query fill the first alone."""
        return self._from_body(route, content)[0]

    def _from_body(self, route: Route, content: Content) -> tuple[Any, Any]:
        """Returns the message with what the body sets, and the JSON it was."""
        body = content.body
        if route.raw_request:
            return raw_bodies.filled(route, content), None
        if not body:
            return route.request.type(), None
        if route.body is None:
            raise refusal(400, "UNEXPECTED_BODY", f"{route.method} {route.template.text} takes no body: send it empty")
        tree = self._bodies.read(body, start=content.start)
        for path in route.variables:
            inside = path.steps[len(route.body) :] if path.steps[: len(route.body)] == route.body else ()
            if inside and self._bodies.sets(inside[0].parent, tree, inside):
                raise refusal(
                    400,
                    "FIELD_SET_TWICE",
                    f"the path sets {path.name!r}, so the body may not: leave it out there",
                    field_path=path.name,
                )
        return self._bodies.fill(route.request, route.body, tree, body, start=content.start), tree

    def _from_query(
        self, route: Route, message: Any, raw_query: str, claims: Claims
    ) -> tuple[AnswerOptions, tuple[str, ...]]:
        answer, warnings = AnswerOptions(), []
        try:
            parameters = list(pairs(raw_query)) if raw_query else []
        except percent.BadEscape as error:
            raise refusal(400, "BAD_ESCAPE", f"the query cannot be decoded: {error}") from None
        for name, text in parameters:
            system = name in self._settings.system_parameters
            if system and (name.startswith("$") or field_named(route.request, name) is None):
                try:
                    answer = answer_options(name, text, answer)
                except BadParameter as error:
                    raise refusal(400, "INVALID_PARAMETER", f"the parameter {name!r}: {error}") from None
                continue
            if route.body == ():
                if self._settings.query_beside_whole_body == "ignore":
                    continue
                raise refusal(
                    400,
                    "UNEXPECTED_PARAMETER",
                    f"the query may set nothing here, not {name!r}: the body holds the whole request",
                )
            try:
                path = resolve(route.request, name)
            except NoSuchField as error:
                if self._settings.unknown_parameters == "strict":
                    raise refusal(400, "UNKNOWN_PARAMETER", f"the query's {error}", field_path=name) from None
                warnings.append(f"the query's {name!r} is unknown and was ignored")
                continue
            if before := claims.claim(path, "the query"):
                problem = f"the query's {name!r} is set already, or its oneof is, by {before}"
                raise refusal(400, "FIELD_SET_TWICE", problem, field_path=path.name)
            self._set(message, path, text, f"the query's {name!r}")
        return answer, tuple(warnings) if self._settings.unknown_parameters == "warn" else ()

    def _set(self, message: Any, path: FieldPath, text: str, source: str) -> None:
        """Sets one field from the text of a path or query; repeated ones get one value more."""
        if path.is_string:  # mostly: nothing can be wrong with it
            message[path.last] = text
            return
        try:
            value = json_value(path.last, text)
            wrapped = json.dumps(path.wrapped([value] if path.repeated else value))
            merge_from_json(message, wrapped, registry=self._registry)
        except BadParameter as error:
            raise refusal(400, "INVALID_FIELD", f"{source}: {error}", field_path=path.name) from None
        except CODEC_ERRORS as error:
            problem = f"{source} does not take {text[:60]!r}: {error}"
            raise refusal(400, "INVALID_FIELD", problem, field_path=path.name) from None

    def _set_mask(self, route: Route, message: Any, tree: Mapping[str, Any]) -> None:
        """Fills an empty update mask with what the body names."""
        mask = field_named(route.request, "update_mask")
        resource = element_of(route.body[-1]) if route.body else None
        if mask is None or not isinstance(resource, DescMessage):
            return
        value = mask.value
        if not isinstance(value, DescFieldValueMessage) or value.message.type_name != _MASK:
            return
        if mask in message and message[mask].paths:
            return
        try:
            message[mask] = value.message.type(paths=mask_of(resource, tree))
        except NoMask as error:
            raise refusal(400, "INVALID_FIELD", f"the body: {error}") from None


def _fill(message: Any, field: DescField | None, text: str) -> None:
    if field is not None and element_of(field) is ScalarType.STRING and not message[field]:
        message[field] = text
