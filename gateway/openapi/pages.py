"""`/openapi.json` and `/docs`: the document, and a page with Swagger UI from its package, nothing from elsewhere."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from aiohttp import web

from gateway.api import Api
from gateway.delivery import deliver
from gateway.openapi.document import document
from gateway.refusal import refusal
from gateway.settings import Settings

_PACKAGE = "flask_swagger_ui"
"""Brings the viewer's files; its Flask part is not imported."""
_FILES = {
    "swagger-ui.css": "text/css; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "favicon-32x32.png": "image/png",
}
_POLICY = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'"
_PAGE = """<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>API</title>
  <link rel="icon" href="/docs/favicon-32x32.png">
  <link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
  <div id="api"></div>
  <script src="/docs/swagger-ui-bundle.js"></script>
  <script src="/docs/start.js"></script>
</body>
</html>
"""
_START = """SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  tryItOutEnabled: true,
  validatorUrl: null,
  requestInterceptor: (request) => {
    const csrf = document.cookie.split("; ").find((pair) => pair.startsWith("astra_csrf="));
    if (csrf) request.headers["X-CSRF-Token"] = csrf.slice("astra_csrf=".length);
    return request;
  },
});
"""


class Pages:
    """Answers for the pages. The document is made when it is first asked for."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._made: tuple[Api, bytes] | None = None

    def answer(self, request: web.BaseRequest, path: str, api: Api) -> web.Response | None:
        """Returns the answer; None for a path that is none of the pages.

        Raises:
            Refused: the method is wrong, or there is no such file.
        """
        if path != "/openapi.json" and path != "/docs" and not path.startswith("/docs/"):
            return None
        if request.method not in ("GET", "HEAD"):
            allow = {"Allow": "GET, HEAD"}
            raise refusal(405, "METHOD_NOT_ALLOWED", f"{request.method} is not allowed on {path}", headers=allow)
        if path == "/openapi.json":
            if self._made is None or self._made[0] is not api:
                self._made = api, document(api, title=self._settings.title)
            return deliver(request, self._made[1], "application/json", self._settings)
        name = path.removeprefix("/docs").removeprefix("/")
        if name == "":
            content_type, body = "text/html; charset=utf-8", _PAGE.encode()
        elif name == "start.js":
            content_type, body = "text/javascript; charset=utf-8", _START.encode()
        elif name in _FILES:
            content_type, body = _FILES[name], _file(name)
        else:
            raise refusal(404, "UNKNOWN_PATH", f"there is nothing at {path}")
        response = deliver(request, body, content_type, self._settings)
        response.headers.update({"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff"})
        return response


@cache
def _file(name: str) -> bytes:
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise refusal(501, "NOT_SERVED", f"the viewer is not installed; add the package {_PACKAGE}")
    return (Path(spec.origin).parent / "dist" / name).read_bytes()
