"""One request from HTTP to the mesh and back."""

import re
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import structlog
from aiohttp import web

from gateway import cors, metadata, raw_bodies, sessions
from gateway.access import Ended
from gateway.api import Api
from gateway.binding import Binder, Bound
from gateway.console import files as console
from gateway.content import Content, parts, whole
from gateway.delivery import deliver
from gateway.failures import failure_response
from gateway.finding import find, preflight
from gateway.health import Health
from gateway.metrics import STALE, name_of
from gateway.observing import ROUTE, Observer, context_of
from gateway.openapi.pages import Pages
from gateway.refusal import Refused, refusal
from gateway.rendering import Renderer
from gateway.router import Match
from gateway.routes import Route
from gateway.sessions import Sessions
from gateway.settings import Settings
from gateway.stale import LastAnswers
from gateway.streaming import Shown, Streams
from gateway.upstream import Reply, Upstream

_UNSAFE_IN_WARNING = re.compile(r'[^\x20-\x7e]|["\\]')

# One look tells the paths of rpcs, which are all but a few requests, from those that may be the gateway's own.
_OWN_PATHS = ("/healthz", "/readyz", "/health", "/openapi.json", "/docs", console.PATH, sessions.PATH)

_ROUTE = web.RequestKey("route", str)
"""Template of the rule that took a request, for whoever is told of its end."""

log = structlog.get_logger("gateway")


class Gateway:
    """Answers requests. Its only state is its routes, its channel, last answers, and whether it stops."""

    def __init__(
        self,
        settings: Settings,
        api: Api,
        *,
        upstream: Upstream,
        health: Health,
        new_id: Callable[[], str],
        ended: Sequence[Callable[[Ended], None]] = (),
    ) -> None:
        self._settings = settings
        self._api = api
        self._upstream = upstream
        self._health = health
        self._streams = Streams(settings)
        self._last = LastAnswers(settings)
        self._pages = Pages(settings)
        self._console = console.ConsoleFiles(settings)
        self._sessions = Sessions(settings, upstream)
        self._new_id = new_id
        self._ended = tuple(ended)
        """Told of every request when it ends."""
        self._observer = Observer()
        self.serve(api)

    def serve(self, api: Api) -> None:
        """Serves another descriptor set from the next request on."""
        self._api = api
        self._observer.known(api.routes)

    def stop(self) -> None:
        """Ends the streams, which would not end by themselves."""
        self._streams.stopping.set()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answers one request; every failure has the one shape. It is observed, however it ends."""
        response: web.StreamResponse | None = None
        started = self._observer.began(request)
        try:
            response = await self._handle(request, started)
            return response
        finally:
            self._observer.ended(request, response, started)

    async def _handle(self, request: web.BaseRequest, started: float) -> web.StreamResponse:
        correlation = metadata.correlation_id(request.headers, self._new_id)
        shared = {"X-Correlation-ID": correlation}
        if self._settings.cors_origins:
            shared.update(cors.answer_headers(request.headers.get("origin"), self._settings))
        try:
            response = await self._answer(request, correlation, shared)
        except Refused as refused:
            response = failure_response(refused, request.headers)
        except ConnectionError:
            log.info("client_gone", path=request.rel_url.raw_path, correlation_id=correlation)
            raise
        except Exception:
            log.exception("request_crashed", correlation_id=correlation, path=request.rel_url.raw_path)
            crash = refusal(500, "INTERNAL", f"the gateway failed; its log has correlation id {correlation}")
            response = failure_response(crash, request.headers)
        if not response.prepared:
            for name, value in shared.items():
                vary = response.headers.get(name) if name == "Vary" else None
                response.headers[name] = f"{vary}, {value}" if vary else value
        seconds = time.perf_counter() - started
        told = Ended(
            request.method, request.rel_url.raw_path, request.get(_ROUTE, ""), response.status, seconds, correlation
        )
        for tell in self._ended:
            tell(told)
        return response

    async def _answer(
        self, request: web.BaseRequest, correlation: str, shared: Mapping[str, str]
    ) -> web.StreamResponse:
        path = request.rel_url.raw_path
        if path.startswith(_OWN_PATHS) and (own := await self._own(request, path, correlation)) is not None:
            return own
        if request.method == "OPTIONS" and (asked := request.headers.get("access-control-request-method")):
            return preflight(self._api.router, path, asked, request.headers.get("origin", ""), self._settings)
        api = self._api
        found = find(api.router, request, path)
        if isinstance(found, web.Response):
            return found
        request[_ROUTE] = found.target.template.text
        request[ROUTE] = found.target
        sent = metadata.outgoing(
            request.headers,
            correlation=correlation,
            client_address=request.remote,
            session_token=sessions.bearer(request) if self._settings.sessions else None,
            context=context_of(request),
        )
        if found.target.client_streaming or found.target.server_streaming:
            return await self._streamed(request, api, found, sent, shared)
        return await self._unary(request, api, found, sent)

    async def _own(self, request: web.BaseRequest, path: str, correlation: str) -> web.Response | None:
        """Answers for the gateway's own paths; None for a path that is none of them."""
        if path == "/healthz":
            return web.json_response({"status": "up"})
        if path == "/readyz":
            return await self._readiness()
        if (page := self._pages.answer(request, path, self._api)) is not None:
            return page
        if (page := self._console.answer(request, path)) is not None:
            return page
        if path == "/health" or path.startswith("/health/"):
            return await self._health.answer(path, self._api.services)
        return await self._sessions.answer(request, path, self._api, correlation)

    async def _unary(
        self, request: web.BaseRequest, api: Api, found: Match[Route], sent: tuple[tuple[str, str], ...]
    ) -> web.Response:
        route = found.target
        bound = _bind(api.binder, request, found, await whole(request, self._settings, raw=route.raw_request))
        timeout = metadata.timeout_seconds(request.headers, self._settings)
        payload = bound.message.to_binary()
        key = self._last.key(request.method, route, payload, dict(sent).get("authorization", ""))
        try:
            reply = await self._upstream.call(route.rpc, payload, api.outcomes, metadata=sent, timeout_seconds=timeout)
        except Refused as refused:
            last = key and self._last.instead_of(refused.failure, key)
            if not last:
                raise
            STALE.labels(name_of(route)).inc()
            response = self._replied(request, api.renderer, route, bound, Reply(last.payload, {}))
            response.headers.extend(last.headers)
            return response
        if key:
            self._last.keep(key, reply.payload)
        return self._replied(request, api.renderer, route, bound, reply)

    async def _streamed(
        self,
        request: web.BaseRequest,
        api: Api,
        found: Match[Route],
        sent: tuple[tuple[str, str], ...],
        shared: Mapping[str, str],
    ) -> web.StreamResponse:
        route = found.target
        timeout = metadata.asked_seconds(request.headers)  # a stream has none of its own
        if route.client_streaming:
            contents = parts(request, self._settings, raw=route.raw_request)
            first = await anext(contents, Content())
        else:
            contents, first = None, await whole(request, self._settings, raw=route.raw_request)
        bound = _bind(api.binder, request, found, first)

        async def messages() -> AsyncIterator[bytes]:
            yield bound.message.to_binary()
            if contents is not None:
                async for content in contents:
                    yield api.binder.part(route, content).to_binary()

        async with self._upstream.stream(
            route.rpc, messages(), api.outcomes, metadata=sent, timeout_seconds=timeout
        ) as stream:
            if route.server_streaming:
                shown = Shown(route, api.renderer, bound.answer)
                return await self._streams.answer(request, shown, stream, shared)
            return self._replied(request, api.renderer, route, bound, await stream.reply())

    def _replied(
        self, request: web.BaseRequest, renderer: Renderer, route: Route, bound: Bound, reply: Reply
    ) -> web.Response:
        """Returns the answer for the one reply of a call."""
        message = renderer.parse(route, reply.payload)
        if route.raw_response:
            content_type, body = raw_bodies.shown(route, message)
        else:
            content_type, body = "application/json", renderer.render(route, message, bound.answer)
        response = deliver(request, body, content_type, self._settings)
        response.headers.update(metadata.answered(reply.metadata))
        for warning in bound.warnings:
            response.headers.add("Warning", f'299 - "{_UNSAFE_IN_WARNING.sub("?", warning)}"')
        return response

    async def unready(self) -> str:
        """Tells why requests cannot be answered now; empty when they can."""
        ready = await self._upstream.ready(self._settings.ready_seconds)
        return "" if ready else "the upstream is not connected"

    async def _readiness(self) -> web.Response:
        wrong = await self.unready()
        return web.json_response({"status": wrong or "ready"}, status=503 if wrong else 200)


def _bind(binder: Binder, request: web.BaseRequest, found: Match[Route], content: Content) -> Bound:
    return binder.bind(
        found,
        request.rel_url.raw_query_string,
        content,
        request_id=metadata.request_id(request.headers),
        resume_token=metadata.resume_token(request.headers) if found.target.server_streaming else None,
    )
