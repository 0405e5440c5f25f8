"""Bodies that are no JSON: `google.api.HttpBody` both ways (rule 16)."""

import re
from typing import Any

from gateway.content import Content
from gateway.routes import Route

DEFAULT_TYPE = "application/octet-stream"
_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+(?:[ \t]*;[\x20-\x7e]*)?")


def filled(route: Route, content: Content) -> Any:
    """Returns a request whose HttpBody holds a body as it came."""
    request: Any = route.request.type()
    target = request
    for step in route.body or ():
        if step not in target:
            target[step] = step.value.message.type()  # type: ignore[union-attr]
        target = target[step]
    target.content_type, target.data = content.content_type, content.body
    return request


def shown(route: Route, reply: Any) -> tuple[str, bytes]:
    """Returns content type and data of a reply's HttpBody. A type that is none cannot become a header."""
    body = reply if route.response_body is None else reply[route.response_body]
    given = body.content_type.strip()
    return (given if _TYPE.fullmatch(given) else DEFAULT_TYPE), bytes(body.data)
