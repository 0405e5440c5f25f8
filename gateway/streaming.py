"""Sends a server stream to an HTTP client: one message after the other, none held back, no end that hides an error."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from aiohttp import web

from gateway import raw_bodies
from gateway.fields import field_named
from gateway.frames import Frames, Raw, frames_for
from gateway.google import is_google_client
from gateway.parameters import AnswerOptions
from gateway.refusal import Refused, refusal
from gateway.rendering import Renderer
from gateway.routes import Route
from gateway.settings import Settings
from gateway.upstream import Stream

log = structlog.get_logger("gateway")


@dataclass(frozen=True, slots=True)
class Shown:
    """How the messages of one stream are shown."""

    route: Route
    renderer: Renderer
    answer: AnswerOptions

    def raw(self, reply: bytes) -> tuple[str, bytes]:
        """Returns content type and data of a raw message."""
        return raw_bodies.shown(self.route, self.renderer.parse(self.route, reply))

    def framed(self, reply: bytes, frames: Frames) -> bytes:
        """Returns a message as it stands in the answer."""
        if self.route.raw_response:
            return frames.message(self.raw(reply)[1], "")
        message = self.renderer.parse(self.route, reply)
        token = field_named(self.route.response, "resume_token")
        given = message[token] if token is not None else ""
        body = self.renderer.render(self.route, message, self.answer)
        return frames.message(body, given if isinstance(given, str) else "")


class Streams:
    """Streams answers until they end, their client goes away, or the gateway stops."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.stopping = asyncio.Event()
        """Set when the gateway drains: streams have no end of their own to wait for."""

    async def answer(
        self, request: web.BaseRequest, shown: Shown, stream: Stream, headers: Mapping[str, str]
    ) -> web.StreamResponse:
        """Sends a stream and returns the answer that was sent.

        Raises:
            Refused: it failed before anything was sent, so the failure can be the answer.
        """
        frames: Frames | None = None
        if not shown.route.raw_response:
            frames = frames_for(request.headers.get("accept", ""), for_google=is_google_client(request.headers))
        reading = asyncio.ensure_future(stream.read())
        try:
            opens = self._settings.stream_open_seconds if frames is not None and frames.opens_at_once else None
            await asyncio.wait({reading}, timeout=opens)
            first = reading.result() if reading.done() else None
            if frames is None:
                frames = Raw(raw_bodies.DEFAULT_TYPE if first is None else shown.raw(first)[0])
            response = web.StreamResponse(headers={**headers, "Content-Type": frames.media_type})
            response.headers["Cache-Control"] = "no-store"
            response.headers["X-Accel-Buffering"] = "no"  # proxies would hold messages back
            response.headers["X-Content-Type-Options"] = "nosniff"
            await response.prepare(request)
            if request.method != "HEAD":
                await self._send(request, response, reading, shown, stream, frames)
            return response
        finally:
            reading.cancel()

    async def _send(
        self,
        request: web.BaseRequest,
        response: web.StreamResponse,
        reading: "asyncio.Future[bytes | None]",
        shown: Shown,
        stream: Stream,
        frames: Frames,
    ) -> None:
        stopping = asyncio.ensure_future(self.stopping.wait())
        try:
            while True:
                if not reading.done():
                    either: set[asyncio.Future[Any]] = {reading, stopping}
                    beat = self._settings.heartbeat_seconds
                    await asyncio.wait(either, timeout=beat, return_when=asyncio.FIRST_COMPLETED)
                if not reading.done():
                    if stopping.done():
                        raise refusal(503, "STOPPING", "the gateway stops; ask again")
                    await self._write(response, frames.heartbeat)
                    continue
                reply = reading.result()
                if reply is None:
                    await self._write(response, frames.end())
                    break
                await self._write(response, shown.framed(reply, frames))
                reading = asyncio.ensure_future(stream.read())
        except Refused as refused:
            await self._fail(request, response, frames, refused)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception:
            log.exception("stream_crashed", rpc=shown.route.rpc)
            await self._fail(request, response, frames, refusal(500, "INTERNAL", "the gateway failed; see its log"))
        finally:
            reading.cancel()
            stopping.cancel()
        await response.write_eof()

    async def _write(self, response: web.StreamResponse, data: bytes) -> None:
        """Writes what the client has to take in time: one that does not read may not hold a call for ever."""
        if not data:
            return
        try:
            async with asyncio.timeout(self._settings.write_seconds):
                await response.write(data)
        except TimeoutError:
            raise ConnectionResetError("the client does not read") from None

    async def _fail(
        self, request: web.BaseRequest, response: web.StreamResponse, frames: Frames, refused: Refused
    ) -> None:
        written = frames.failure(refused.failure)
        if written is not None:
            await self._write(response, written)
            return
        # Raw bytes have no place for an error: the body must not look complete.
        if request.transport is not None:
            request.transport.close()
        raise ConnectionResetError("the stream failed") from None
