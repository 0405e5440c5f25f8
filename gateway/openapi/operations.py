"""A rule as an OpenAPI operation: its parameters, its body, its answers, who may call it."""

from collections.abc import Iterator, Mapping
from typing import Any

from protobuf import DescField, DescFieldValueList, DescFieldValueMap, DescMessage, Registry

from gateway.fields import element_of, field_named, is_json_scalar
from gateway.openapi.comments import summary_of
from gateway.openapi.errors import statuses_of
from gateway.openapi.schemas import Schema, Schemas
from gateway.parser import Kind
from gateway.routes import Route

_ACCESS = "astra.api.v1.access"
_REASONS = "astra.api.v1.error_reasons"
_OPEN = "OPEN"
_MAX_DEPTH = 4
"""How deep query parameters of nested messages are told; deeper ones work, too."""


class Operations:
    """Makes the operations of one descriptor set."""

    def __init__(self, registry: Registry, schemas: Schemas, comments: Mapping[str, str]) -> None:
        self._schemas = schemas
        self._comments = comments
        self._access = registry.extension(_ACCESS)
        self._reasons = registry.extension(_REASONS)

    def operation(self, route: Route, number: int) -> Schema:
        """Returns the operation of a rule; `number` counts the rules of its rpc from 1."""
        method = route.descriptor
        comment = self._comments.get(f"{method.parent.type_name}.{method.name}", "")
        made: Schema = {
            "operationId": f"{method.parent.name}_{method.name}" + (f"_{number}" if number > 1 else ""),
            "tags": [method.parent.name],
            "summary": summary_of(comment) or method.name,
            "description": comment + self._told_reasons(route),
            "parameters": [*self._path(route), *self._query(route), *self._headers(route)],
            "responses": self._answers(route),
        }
        if route.body is not None:
            made["requestBody"] = self._body(route, route.body)
        if method.deprecated:
            made["deprecated"] = True
        levels = self._levels(route)
        if levels is not None:
            made["security"] = [] if _OPEN in levels else [{"token": []}, {"session": []}]
        return made

    def _levels(self, route: Route) -> list[str] | None:
        options: Any = route.descriptor.proto.options
        if self._access is None or self._access.type not in options:
            return None
        return [level.name.removeprefix("ACCESS_") for level in options[self._access.type].allow]

    def _told_reasons(self, route: Route) -> str:
        options: Any = route.descriptor.proto.options
        reasons = list(options[self._reasons.type]) if self._reasons is not None else []
        return "\n\nReasons of its errors: " + ", ".join(f"`{reason}`" for reason in reasons) + "." if reasons else ""

    def _path(self, route: Route) -> Iterator[Schema]:
        filled = dict(zip(route.template.variables, route.variables, strict=True))
        for name, variable in names_of(route):
            field = filled[variable].last if variable is not None else None
            schema = {"type": "string"} if field is None or variable.several else self._schemas.field(field)
            said = {"description": self._schemas.comment(field)} if field and self._schemas.comment(field) else {}
            bare = {key: value for key, value in schema.items() if key not in ("description", "readOnly")}
            if bare.get("type") == "string" and "enum" not in bare:
                bare["minLength"] = 1
            yield {"name": name, "in": "path", "required": True, **said, "schema": bare}

    def _query(self, route: Route) -> Iterator[Schema]:
        if route.body == ():
            return
        taken = {path.numbers for path in route.variables}
        if route.body:
            taken.add(tuple(step.number for step in route.body))
        yield from self._leaves(route.request, (), taken)

    def _leaves(
        self, message: DescMessage, above: tuple[DescField, ...], taken: set[tuple[int, ...]]
    ) -> Iterator[Schema]:
        for field in message.fields:
            steps = (*above, field)
            if tuple(step.number for step in steps) in taken or isinstance(field.value, DescFieldValueMap):
                continue
            element = element_of(field)
            many = isinstance(field.value, DescFieldValueList)
            if isinstance(element, DescMessage) and not is_json_scalar(element):
                if not many and len(steps) < _MAX_DEPTH and all(element is not step.parent for step in steps):
                    yield from self._leaves(element, steps, taken)
                continue
            schema = self._schemas.field(field)
            if not schema.keys() & {"type", "$ref", "anyOf"}:
                continue  # free JSON has no form in a query
            said = {"description": schema.pop("description")} if "description" in schema else {}
            required = {"required": True} if not above and self._schemas.required(field) else {}
            yield {"name": ".".join(s.json_name for s in steps), "in": "query", **said, **required, "schema": schema}

    def _headers(self, route: Route) -> Iterator[Schema]:
        yield {"$ref": "#/components/parameters/CorrelationId"}
        if field_named(route.request, "request_id") is not None and route.method != "GET":
            yield {"$ref": "#/components/parameters/IdempotencyKey"}
        if route.server_streaming and field_named(route.request, "resume_token") is not None:
            yield {"$ref": "#/components/parameters/LastEventId"}

    def _body(self, route: Route, filled: tuple[DescField, ...]) -> Schema:
        if route.raw_request:
            return {"content": {"*/*": {}}, "description": "Bytes of any type."}
        depth = len(filled)
        inside = {
            path.steps[depth].name
            for path in route.variables
            if path.steps[:depth] == filled and len(path.steps) == depth + 1
        }
        if filled:
            element = element_of(filled[-1])
            schema = self._schemas.field(filled[-1])
            if inside and isinstance(element, DescMessage):
                schema = self._schemas.fields_of(element, without=inside)
        else:
            schema = self._schemas.fields_of(route.request, without=inside)
        schema = {key: value for key, value in schema.items() if key != "readOnly"}
        if route.client_streaming:
            array = {"type": "array", "items": schema}
            return {"content": {"application/json": {"schema": array}, "application/x-ndjson": {"schema": schema}}}
        return {"required": bool(schema.get("required")), "content": {"application/json": {"schema": schema}}}

    def _answers(self, route: Route) -> Schema:
        shown = route.response_body
        schema = self._schemas.message(route.response) if shown is None else self._schemas.field(shown)
        content: Schema
        if route.raw_response:
            content = {"*/*": {}}
        elif route.server_streaming:
            failed = {
                "type": "object",
                "properties": {"error": {"$ref": "#/components/schemas/google.rpc.Status"}},
                "required": ["error"],
            }
            item = {"anyOf": [schema, failed]}
            content = {
                "application/json": {"schema": {"type": "array", "items": item}},
                "application/x-ndjson": {"schema": item},
                "text/event-stream": {"schema": {"type": "string"}},
            }
        else:
            content = {"application/json": {"schema": schema}}
        headers = {"X-Correlation-ID": {"$ref": "#/components/headers/CorrelationId"}}
        answers: Schema = {"200": {"description": "It is done.", "headers": headers, "content": content}}
        if route.method == "GET" and not route.server_streaming:
            answers["304"] = {"description": "The client has this answer already: its `If-None-Match` fits."}
        return answers | {status: {"$ref": f"#/components/responses/{status}"} for status in statuses_of(route)}


def names_of(route: Route) -> Iterator[tuple[str, Any]]:
    """Yields a name for every placeholder of a path, with the variable it belongs to (None: it fills nothing)."""
    variables = dict(zip(route.template.variables, route.variables, strict=True))
    total = len(route.template.segments)
    loose = 0
    for index, segment in enumerate(route.template.segments):
        if segment.kind is Kind.LITERAL:
            continue
        inside = [v for v in variables if v.start <= index < (total if v.end is None else v.end % (total + 1))]
        if not inside:
            loose += 1
            yield f"segment{loose}", None
            continue
        name = ".".join(step.json_name for step in variables[inside[0]].steps)
        yield (f"{name}.{index - inside[0].start}" if inside[0].several else name), inside[0]
