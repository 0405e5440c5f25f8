"""One request from HTTP to the mesh and back."""

import asyncio
import re
import time
from collections.abc import Callable

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from gateway import cors, metadata
from gateway.binding import Binder
from gateway.percent import BadEscape
from gateway.refusal import Refused, refusal
from gateway.rendering import Renderer
from gateway.router import Match, RedirectToPath, Router, UnknownMethod, UnknownPath
from gateway.routes import Route
from gateway.settings import Settings
from gateway.upstream import Upstream

_JSON = re.compile(r"application/(?:json|[a-z0-9!#$&^_.-]+\+json)", re.IGNORECASE)
_PROBLEM = "application/problem+json"
_UNSAFE_IN_WARNING = re.compile(r'[^\x20-\x7e]|["\\]')

log = structlog.get_logger("gateway")


class Gateway:
    """Answers requests. It holds no state but its routes and its channel."""

    def __init__(
        self,
        settings: Settings,
        *,
        router: Router[Route],
        binder: Binder,
        renderer: Renderer,
        upstream: Upstream,
        new_id: Callable[[], str],
    ) -> None:
        self._settings = settings
        self._router = router
        self._binder = binder
        self._renderer = renderer
        self._upstream = upstream
        self._new_id = new_id

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answers one request; every failure has the one shape."""
        started = time.perf_counter()
        correlation = metadata.correlation_id(request.headers, self._new_id)
        try:
            response = await self._answer(request, correlation)
        except Refused as refused:
            response = failure_response(refused, request.headers.get("accept", ""))
        except Exception:
            log.exception("request_crashed", correlation_id=correlation, path=request.rel_url.raw_path)
            crash = refusal(500, "INTERNAL", f"the gateway failed; its log has correlation id {correlation}")
            response = failure_response(crash, request.headers.get("accept", ""))
        response.headers["X-Correlation-ID"] = correlation
        response.headers.update(cors.answer_headers(request.headers.get("origin"), self._settings))
        log.info(
            "request",
            method=request.method,
            path=request.rel_url.raw_path,
            status=response.status,
            ms=round((time.perf_counter() - started) * 1000, 2),
            correlation_id=correlation,
        )
        return response

    async def _answer(self, request: web.BaseRequest, correlation: str) -> web.Response:
        path = request.rel_url.raw_path
        if path == "/healthz":
            return web.json_response({"status": "up"})
        if path == "/readyz":
            return await self._readiness()
        if request.method == "OPTIONS" and (asked := request.headers.get("access-control-request-method")):
            return self._preflight(path, asked, request.headers.get("origin", ""))
        found = self._find(request, path)
        if isinstance(found, web.Response):
            return found
        route = found.target
        if route.not_served:
            raise refusal(501, "NOT_SERVED", f"{route.rpc}: {route.not_served}")
        body = await self._body(request)
        bound = self._binder.bind(
            found, request.rel_url.raw_query_string, body, request_id=metadata.request_id(request.headers)
        )
        reply = await self._upstream.call(
            route.rpc,
            bound.message.to_binary(),
            metadata=metadata.outgoing(request.headers, correlation=correlation, client_address=request.remote),
            timeout_seconds=metadata.timeout_seconds(request.headers, self._settings),
        )
        response = web.Response(
            body=self._renderer.render(route, reply.payload, bound.answer), content_type="application/json"
        )
        response.headers.update(metadata.answered(reply.metadata))
        for warning in bound.warnings:
            response.headers.add("Warning", f'299 - "{_UNSAFE_IN_WARNING.sub("?", warning)}"')
        return response

    def _find(self, request: web.BaseRequest, path: str) -> Match[Route] | web.Response:
        """Returns the rule of a request, or the answer to one that needs none."""
        try:
            return self._router.find(request.method, path)
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

    def _preflight(self, path: str, asked: str, origin: str) -> web.Response:
        """Answers what a browser asks before a request that another origin's page makes."""
        try:
            self._router.find(asked, path)
            methods = frozenset({asked})
        except UnknownMethod as error:
            methods = error.allowed
        except RedirectToPath:
            methods = frozenset()
        except (UnknownPath, BadEscape):
            raise refusal(404, "UNKNOWN_PATH", f"there is nothing at {path}") from None
        allow = {"Allow": ", ".join(sorted({*methods, "OPTIONS"}))}
        return web.Response(status=204, headers=allow | cors.preflight_headers(origin, methods, self._settings))

    async def _readiness(self) -> web.Response:
        ready = await self._upstream.ready(self._settings.ready_seconds)
        body = {"status": "ready" if ready else "the upstream is not connected"}
        return web.json_response(body, status=200 if ready else 503)

    async def _body(self, request: web.BaseRequest) -> bytes:
        """Reads a body within the limits, once its type is known to be JSON."""
        limit = self._settings.max_body_bytes
        too_large = refusal(413, "BODY_TOO_LARGE", f"a body may have at most {limit} bytes")
        if not request.body_exists:
            return b""
        if (request.content_length or 0) > limit:
            raise too_large
        expectation = request.headers.get("expect", "100-continue").lower()
        if expectation != "100-continue":
            raise refusal(417, "UNKNOWN_EXPECTATION", f"the expectation {expectation[:40]!r} cannot be met")
        if "expect" in request.headers:
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0  # aiohttp would take the answer for started
        try:
            async with asyncio.timeout(self._settings.body_seconds):
                body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            raise too_large from None
        except TimeoutError:
            raise refusal(408, "BODY_TOO_SLOW", "the body did not arrive in time") from None
        except (HttpProcessingError, web.RequestPayloadError) as error:
            raise refusal(400, "BROKEN_BODY", f"the body cannot be read: {error}") from None
        if body and not (
            _JSON.fullmatch(request.content_type) and (request.charset or "utf-8").lower().replace("_", "-") == "utf-8"
        ):
            given = request.headers.get("content-type", "none")
            raise refusal(
                415, "NOT_JSON", f"send the body as Content-Type: application/json (in UTF-8); it came as {given[:80]}"
            )
        return body


def failure_response(refused: Refused, accept: str) -> web.Response:
    """Writes a failure: as problem+json for clients that ask for it, else as `google.rpc.Status`."""
    failure = refused.failure
    problem = any(
        part.partition(";")[0].strip().lower() == _PROBLEM and not re.search(r";\s*q=0(?:\.0*)?\s*(?:;|$)", part)
        for part in accept.split(",")
    )
    return web.Response(
        status=failure.http_status,
        body=failure.problem_json() if problem else failure.status_json(),
        content_type=_PROBLEM if problem else "application/json",
        headers=dict(failure.headers),
    )
