"""The HTTP server under the gateway: its limits, and the one error shape for what fails before any handler."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import LineTooLong
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from gateway.failures import failure_response
from gateway.refusal import Refused, refusal
from gateway.settings import Settings

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Listener(web.Server):
    """Makes the protocol of each connection. aiohttp's own limits would answer in plain text."""

    def __init__(self, handler: Handler, settings: Settings, new_id: Callable[[], str]) -> None:
        # A client that goes away cancels its handler, and that the call.
        super().__init__(handler, request_factory=self._request, handler_cancellation=True)
        self._settings = settings
        self._new_id = new_id

    def __call__(self) -> RequestHandler:
        settings = self._settings
        return _Protocol(
            self,
            loop=asyncio.get_running_loop(),
            new_id=self._new_id,
            head_seconds=settings.head_seconds,
            access_log=None,
            keepalive_timeout=75.0,
            lingering_time=2.0,  # what a client still sends of a body that was refused; then the connection closes
            max_line_size=settings.max_target_bytes,
            # The parser's error tells which limit broke by its number alone, so the two have to differ.
            max_field_size=settings.max_header_bytes + (settings.max_header_bytes == settings.max_target_bytes),
            max_headers=settings.max_headers,
        )

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> web.BaseRequest:
        limit = self._settings.max_body_bytes
        loop = asyncio.get_running_loop()
        return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=limit)


class _Protocol(RequestHandler):
    """One connection."""

    __slots__ = ("_head_seconds", "_head_timer", "_new_id")

    def __init__(self, server: Listener, *, new_id: Callable[[], str], head_seconds: float, **limits: Any) -> None:
        super().__init__(server, **limits)
        self._new_id = new_id
        self._head_seconds = head_seconds
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        if self._head_timer is not None:
            self._head_timer.cancel()

    def _watch_head(self) -> None:
        """Counts the time while no request is there, at the start and in a head: aiohttp would wait for ever."""
        if self._current_request is not None or self._messages:
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None
        elif self._head_timer is None:
            self._head_timer = self._loop.call_later(self._head_seconds, self._head_too_slow)

    def _head_too_slow(self) -> None:
        self._head_timer = None
        if self._current_request is not None or self._messages or not isinstance(self.transport, asyncio.Transport):
            return
        body = refusal(408, "HEAD_TOO_SLOW", "the request's head did not arrive in time").failure.status_json()
        head = f"Content-Type: application/json\r\nX-Correlation-ID: {self._new_id()}\r\nConnection: close\r\n"
        length = f"Content-Length: {len(body)}\r\n\r\n"
        self.transport.write(b"HTTP/1.1 408 Request Timeout\r\n" + (head + length).encode() + body)
        self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answers what aiohttp refuses by itself, and closes the connection."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun, so no error can be sent in its place")
        response = failure_response(self._refused(exc, message or ""), request.headers)
        response.headers["X-Correlation-ID"] = self._new_id()
        response.force_close()
        return response

    def _refused(self, exc: BaseException | None, message: str) -> Refused:
        if isinstance(exc, LineTooLong):
            if exc.args[1] == self.max_line_size:
                return refusal(414, "PATH_TOO_LONG", f"path and query may have at most {self.max_line_size} bytes")
            return refusal(431, "HEADER_TOO_LARGE", f"a header may have at most {self.max_field_size} bytes")
        if "Too many headers" in message:
            return refusal(431, "TOO_MANY_HEADERS", f"a request may have at most {self.max_headers} headers")
        return refusal(
            400, "INVALID_HTTP", f"this is no HTTP request: {message.splitlines()[0][:200] if message else exc}"
        )
