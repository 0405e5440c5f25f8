"""A client that writes a request as REST, the way generated clients do, to see what the gateway reads from it."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

from protobuf import message_to_json_value

from gateway.binding import Binder
from gateway.parser import Kind, Variable
from gateway.router import UnknownPath
from gateway.routes import Route, router_of, routes_of
from gateway.settings import Settings
from tests.unit_gateway.schema import compiled, registry_of


def bound_by_client(rpc: str, request: dict[str, Any]) -> tuple[Any, Any]:
    """Returns the request as a message, and the message the gateway makes of its REST form."""
    registry, settings = registry_of(compiled()), Settings()
    router = router_of(routes_of(registry), settings.router)
    for route in routes_of(registry):
        if route.rpc != f"/cases.Compliance/{rpc}" or request.get("intendedBindingUri") not in (
            None,
            route.template.text,
        ):
            continue
        path, query, body = _written(route, request)
        try:
            match = router.find(route.method, path)
        except UnknownPath:
            continue  # an additional binding may fit
        assert match.target.rpc == route.rpc
        assert match.template == route.template
        bound = Binder(settings, registry).bind(match, query, body)
        return route.request.type.from_json(json.dumps(request)), bound.message
    raise AssertionError(f"no binding of {rpc} fits {request}")


def _written(route: Route, request: dict[str, Any]) -> tuple[str, str, bytes]:
    rest = json.loads(json.dumps(request))
    message = route.request.type.from_json(json.dumps({"info": {"fChild": {}}, **request}))
    defaults: Any = message_to_json_value(message, always_emit_implicit=True)
    texts = []
    for field_path in route.variables:
        names = [step.json_name for step in field_path.steps]
        given = _popped(rest, names)
        texts.append(_text(_popped(defaults, names) if given is None else given))
    filled = dict(zip(route.template.variables, texts, strict=True))
    segments: list[str] = []
    for index, segment in enumerate(route.template.segments):
        inside = next((v for v in filled if v.start <= index < _end(v, len(route.template.segments))), None)
        if inside is None:
            segments.append(str(segment))
        elif inside.start == index:
            parts = filled[inside].split("/") if inside.several else [filled[inside]]
            segments += [quote(part, safe="") for part in parts]
    assert all(segment.kind is not Kind.REST for segment in route.template.segments)
    path = "/" + "/".join(segments) + (f":{route.template.verb}" if route.template.verb else "")
    body: Any = None
    if route.body == ():
        body, rest = rest, {}
    elif route.body:
        body = _popped(rest, [step.json_name for step in route.body])
    return path, urlencode(list(_leaves(rest, ""))), b"" if body is None else json.dumps(body).encode()


def _end(variable: Variable, total: int) -> int:
    return total if variable.end is None else variable.end % (total + 1) if variable.end < 0 else variable.end


def _popped(tree: dict[str, Any], names: list[str]) -> Any:
    for name in names[:-1]:
        tree = tree.get(name, {})
    return tree.pop(names[-1], None)


def _leaves(tree: Any, prefix: str) -> Iterator[tuple[str, str]]:
    if isinstance(tree, dict):
        for name, value in tree.items():
            yield from _leaves(value, f"{prefix}.{name}" if prefix else name)
    else:
        yield prefix, _text(tree)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
