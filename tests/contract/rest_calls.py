"""From an rpc and a request in JSON to the REST call that its `google.api.http` rule promises."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.api import annotations_pb2
from google.protobuf import descriptor_pool

from services.contracts import Rpc


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One way to call an rpc by HTTP."""

    method: str
    template: str
    body: str
    """`*`, a field of the request, or nothing."""

    def __str__(self) -> str:
        return f"{self.method} {self.template}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RestCall:
    """A request as HTTP has it."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Any


def routes_of(rpc: Rpc) -> list[Route]:
    """Returns the routes of an rpc, the first of them its own."""
    method = descriptor_pool.Default().FindMethodByName(rpc.path[1:].replace("/", "."))
    options: Any = method.GetOptions()
    rule = options.Extensions[annotations_pb2.http]
    return [
        Route(method=kind.upper(), template=getattr(binding, kind), body=binding.body)
        for binding in (rule, *rule.additional_bindings)
        if (kind := binding.WhichOneof("pattern"))
    ]


def rest_call(rpc: Rpc, route: Route, data: Mapping[str, Any]) -> RestCall:
    """Returns the call: fields of the template go into the path, those of the body there, the rest into the query."""
    names = {each.name: each.json_name for each in rpc.request.DESCRIPTOR.fields}
    left = dict(data)
    path = re.sub(r"\{([a-z_]+)(?:=[^}]*)?\}", lambda found: str(left.pop(names[found[1]])), route.template)
    if route.body == "*":
        return RestCall(method=route.method, path=path, query={}, body=left)
    body = left.pop(names[route.body]) if route.body else None
    return RestCall(method=route.method, path=path, query=dict(_flat("", left)), body=body)


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        if set(value) == {"paths"}:  # a field mask
            yield prefix, ",".join(value["paths"])
            return
        for name, inner in value.items():
            yield from _flat(f"{prefix}.{name}" if prefix else name, inner)
    else:
        yield prefix, str(value)
