"""Serves the console's files. They hold no data: whatever the page shows, an rpc has let its caller see."""

from functools import cache
from pathlib import Path

from aiohttp import web

from gateway.delivery import deliver
from gateway.refusal import refusal
from gateway.settings import Settings

PATH = "/console"
_FOLDER = Path(__file__).parent / "static"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class ConsoleFiles:
    """Answers for what lies under `/console`; for nothing where the settings want no console."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def answer(self, request: web.BaseRequest, path: str) -> web.Response | None:
        """Returns the answer; None for a path that is not the console's.

        Raises:
            Refused: the method is wrong, or there is no such file.
        """
        if not self._settings.console or (path != PATH and not path.startswith(f"{PATH}/")):
            return None
        if request.method not in ("GET", "HEAD"):
            allow = {"Allow": "GET, HEAD"}
            raise refusal(405, "METHOD_NOT_ALLOWED", f"{request.method} is not allowed on {path}", headers=allow)
        name = path.removeprefix(PATH).strip("/") or "index.html"
        found = _files().get(name)
        if found is None:
            raise refusal(404, "UNKNOWN_PATH", f"there is nothing at {path}")
        content_type, body = found
        response = deliver(request, body, content_type, self._settings)
        response.headers.update(_HEADERS)
        return response


@cache
def _files() -> dict[str, tuple[str, bytes]]:
    """Reads all of them once: what is asked for is looked up, never a path made of it."""
    found = (path for path in _FOLDER.rglob("*") if path.suffix in _TYPES)
    return {path.relative_to(_FOLDER).as_posix(): (_TYPES[path.suffix], path.read_bytes()) for path in found}
