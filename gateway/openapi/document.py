"""The OpenAPI 3.1 document of an API."""

import json
from collections import Counter

from gateway.api import Api
from gateway.openapi import errors
from gateway.openapi.comments import comments_of
from gateway.openapi.operations import Operations, names_of
from gateway.openapi.schemas import Schema, Schemas
from gateway.parser import Kind
from gateway.routes import Route

_DOCUMENTED = frozenset({"GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE"})
_DESCRIPTION = """Made from the protos. 64-bit integers are strings. `$alt=json;defaults=all` shows fields that hold
their default, `$alt=json;enum-encoding=int` shows enums as numbers, `prettyPrint=true` indents.
Failures are a `google.rpc.Status`, or a problem of RFC 9457 for `Accept: application/problem+json`."""


def document(api: Api, *, title: str) -> bytes:
    """Returns the document as JSON."""
    comments = comments_of(api.registry)
    schemas = Schemas(api.registry, comments)
    operations = Operations(api.registry, schemas, comments)
    paths: dict[str, Schema] = {}
    count: Counter[str] = Counter()
    for route in api.routes:
        count[route.rpc] += 1
        if route.method in _DOCUMENTED:
            paths.setdefault(_path(route), {})[route.method.lower()] = operations.operation(route, count[route.rpc])
    services = {route.descriptor.parent.name: route.descriptor.parent.type_name for route in api.routes}
    components = dict(sorted(schemas.components.items()))
    return json.dumps(
        {
            "openapi": "3.1.0",
            "info": {"title": title, "version": "1", "description": _DESCRIPTION},
            "servers": [{"url": "/"}],
            "tags": [{"name": name, "description": comments.get(full, "")} for name, full in sorted(services.items())],
            "paths": paths,
            "components": {
                "schemas": {**components, **errors.schemas()},
                "responses": errors.responses(),
                "parameters": _parameters(),
                "headers": {"CorrelationId": {"schema": {"type": "string"}, "description": "Names the chain."}},
                "securitySchemes": {
                    "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                    "session": {"type": "apiKey", "in": "cookie", "name": "astra_session"},
                },
            },
        },
        ensure_ascii=False,
        separators=(",", ":"),
    ).encode()


def _path(route: Route) -> str:
    names = iter(name for name, _ in names_of(route))
    segments = [
        segment.text if segment.kind is Kind.LITERAL else "{" + next(names) + "}" for segment in route.template.segments
    ]
    return "/" + "/".join(segments) + (f":{route.template.verb}" if route.template.verb else "")


def _parameters() -> Schema:
    def header(name: str, description: str, pattern: str) -> Schema:
        return {"name": name, "in": "header", "description": description, "schema": {"type": "string", **_of(pattern)}}

    return {
        "CorrelationId": header(
            # No pattern: a value that does not fit is no failure.
            "X-Correlation-ID",
            "Names the chain this call begins, `[A-Za-z0-9_.-]{1,64}`; others are replaced.",
            "",
        ),
        "IdempotencyKey": header(
            "Idempotency-Key", "Fills `requestId`, so that a repeat does nothing twice.", "^[A-Za-z0-9_-]{1,64}$"
        ),
        "LastEventId": header("Last-Event-ID", "Id of the last event the client has; the stream goes on after it.", ""),
    }


def _of(pattern: str) -> Schema:
    return {"pattern": pattern} if pattern else {}
