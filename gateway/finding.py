"""Which rule a request asks for, or the answer to one that needs none: redirects, `OPTIONS`, preflights."""

from aiohttp import web

from gateway import cors
from gateway.google import answering_whole, is_google_client
from gateway.percent import BadEscape
from gateway.refusal import refusal
from gateway.router import Match, RedirectToPath, Router, UnknownMethod, UnknownPath
from gateway.routes import Route
from gateway.settings import Settings


def find(router: Router[Route], request: web.BaseRequest, path: str) -> Match[Route] | web.Response:
    """Returns the rule of a request, or the answer to one that needs none."""
    try:
        found = router.find(request.method, path)
        return answering_whole(found) if is_google_client(request.headers) else found
    except BadEscape as error:
        raise refusal(400, "BAD_ESCAPE", f"the path cannot be decoded: {error}") from None
    except RedirectToPath as redirect:
        query = request.rel_url.raw_query_string
        return web.Response(status=308, headers={"Location": redirect.path + ("?" + query if query else "")})
    except UnknownMethod as error:
        allow = {"Allow": ", ".join(sorted({*error.allowed, "OPTIONS"}))}
        if request.method == "OPTIONS":
            return web.Response(status=204, headers=allow)
        message = f"{request.method} is not allowed on {path}; allowed: {allow['Allow']}"
        raise refusal(405, "METHOD_NOT_ALLOWED", message, headers=allow) from None
    except UnknownPath:
        raise refusal(404, "UNKNOWN_PATH", f"there is nothing at {path}") from None


def preflight(router: Router[Route], path: str, asked: str, origin: str, settings: Settings) -> web.Response:
    """Answers what a browser asks before a request that another origin's page makes."""
    try:
        router.find(asked, path)
        methods = frozenset({asked})
    except UnknownMethod as error:
        methods = error.allowed
    except RedirectToPath:
        methods = frozenset()
    except (UnknownPath, BadEscape):
        raise refusal(404, "UNKNOWN_PATH", f"there is nothing at {path}") from None
    allow = {"Allow": ", ".join(sorted({*methods, "OPTIONS"}))}
    return web.Response(status=204, headers=allow | cors.preflight_headers(origin, methods, settings))
