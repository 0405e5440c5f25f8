"""The REST routes of a descriptor set: every `google.api.http` rule, checked before anything is served (rule 3)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from protobuf import DescField, DescFieldValueMap, DescFieldValueMessage, DescMessage, DescMethod, DescService, Registry

from gateway.fields import FieldPath, NoSuchField, field_named, is_json_scalar, resolve
from gateway.parser import Template, parse
from gateway.router import Router, RouterOptions

HTTP_OPTION = "google.api.http"
STALE_OPTION = "astra.api.v1.stale_ok"
"""Of our own protos; a descriptor set without it has no such rpcs."""
HTTP_BODY = "google.api.HttpBody"
WHOLE = "*"


class BadRule(ValueError):
    """A rule cannot be served; the message names the rpc and says what to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One binding of an rpc to HTTP."""

    rpc: str
    """`/package.Service/Method`."""
    method: str
    template: Template
    request: DescMessage
    response: DescMessage
    variables: tuple[FieldPath, ...]
    """The fields of the template's variables, in their order."""
    body: tuple[DescField, ...] | None
    """The field the body fills, empty for the whole request, None for a rule without body."""
    response_body: DescField | None
    """The field the answer shows; None for the whole reply."""
    descriptor: DescMethod
    stale_ok: bool
    """Whether the rpc's option lets an old answer stand in while the service is down."""
    raw_request: bool
    """Whether the body goes as it is into a `google.api.HttpBody`."""
    raw_response: bool
    """Whether the answer is the data of a `google.api.HttpBody`."""

    @property
    def client_streaming(self) -> bool:
        return self.descriptor.method_kind in ("client_streaming", "bidi_streaming")

    @property
    def server_streaming(self) -> bool:
        return self.descriptor.method_kind in ("server_streaming", "bidi_streaming")

    def __str__(self) -> str:
        return self.rpc


def router_of(routes: Iterable[Route], options: RouterOptions) -> Router[Route]:
    """Registers routes.

    Raises:
        RouteClash: two of them ask for the same requests.
    """
    router: Router[Route] = Router(options)
    for route in routes:
        router.add(route.method, route.template, route)
    return router


def routes_of(registry: Registry) -> Iterator[Route]:
    """Yields the route of every rule of a descriptor set.

    Raises:
        BadRule, TemplateError: a rule is broken.
    """
    option = registry.extension(HTTP_OPTION)
    stale_option = registry.extension(STALE_OPTION)
    if option is None:
        return
    for service in registry:
        if not isinstance(service, DescService):
            continue
        for method in service.methods:
            options: Any = method.proto.options
            if options is None or option.type not in options:
                continue
            rule = options[option.type]
            stale_ok = bool(stale_option is not None and options[stale_option.type])
            yield _route(method, rule, stale_ok)
            for additional in rule.additional_bindings:
                if additional.additional_bindings:
                    raise BadRule(f"{_rpc(method)}: additional_bindings may not stand inside of additional_bindings")
                yield _route(method, additional, stale_ok)


def _route(method: DescMethod, rule: Any, stale_ok: bool) -> Route:
    rpc = _rpc(method)
    if rule.pattern is None:
        raise BadRule(f"{rpc}: its google.api.http rule has no path")
    verb, path = rule.pattern.field.upper(), rule.pattern.value
    if rule.pattern.field == "custom":
        verb, path = rule.pattern.value.kind, rule.pattern.value.path
        if verb == "*":
            raise BadRule(f"{rpc}: a rule for every method is not served; write one rule a method")
    template = parse(path)
    try:
        variables = tuple(_variable(method.input, variable.field_path) for variable in template.variables)
        body = _body(method.input, rule.body)
        response_body = _top_field(method.output, rule.response_body) if rule.response_body else None
    except NoSuchField as error:
        raise BadRule(f"{rpc}, {verb} {path!r}: {error}") from None
    for variable in variables:
        if body and variable.steps == body[: len(variable.steps)]:
            raise BadRule(f"{rpc}, {verb} {path!r}: body and path both set {variable.name!r}")
    return Route(
        rpc=rpc,
        method=verb,
        template=template,
        request=method.input,
        response=method.output,
        variables=variables,
        body=body,
        response_body=response_body,
        descriptor=method,
        stale_ok=stale_ok,
        raw_request=body is not None and _is_http_body(body[-1] if body else method.input),
        raw_response=_is_http_body(response_body or method.output),
    )


def _rpc(method: DescMethod) -> str:
    return f"/{method.parent.type_name}/{method.name}"


def _variable(request: DescMessage, path: str) -> FieldPath:
    field_path = resolve(request, path)
    if field_path.repeated:
        raise NoSuchField(f"{path!r} is repeated: a path variable fills a single value")
    value = field_path.last.value
    if isinstance(value, DescFieldValueMap) or (
        isinstance(value, DescFieldValueMessage) and not is_json_scalar(value.message)
    ):
        raise NoSuchField(f"{path!r} is a message or map: a path variable fills a single value")
    return field_path


def _body(request: DescMessage, body: str) -> tuple[DescField, ...] | None:
    if not body:
        return None
    return () if body == WHOLE else resolve(request, body).steps


def _top_field(message: DescMessage, name: str) -> DescField:
    field = field_named(message, name)
    if field is None:
        raise NoSuchField(f"{message.type_name} has no field {name!r} to answer with")
    return field


def _is_http_body(part: DescMessage | DescField) -> bool:
    message = part if isinstance(part, DescMessage) else getattr(part.value, "message", None)
    return isinstance(message, DescMessage) and message.type_name == HTTP_BODY
