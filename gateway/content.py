"""What a client sends: the body, or one message's part of it, read within the limits (rules 10, 12 and 16)."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from gateway.json_text import BadJson, elements
from gateway.refusal import Refused, refusal
from gateway.settings import Settings

_JSON = re.compile(r"application/(?:json|[a-z0-9!#$&^_.-]+\+json)", re.IGNORECASE)
_CLOSE = {"Connection": "close"}
"""After a body that was not read to its end nothing can follow on its connection."""
_LINES = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"})


@dataclass(frozen=True, slots=True)
class Content:
    """What fills one message."""

    body: bytes = b""
    content_type: str = ""
    start: int = 0
    """Where in the whole body it starts, for the bytes that errors name."""


async def whole(request: web.BaseRequest, settings: Settings, *, raw: bool) -> Content:
    """Reads a body; one that is not `raw` has to be JSON.

    Raises:
        Refused: it is too large, too slow, broken, or of another type.
    """
    if not request.body_exists:
        return Content()
    await _expected(request, settings)
    try:
        if request.content.is_eof():  # as it mostly is: it came with the head
            body = request.content.read_nowait(-1)
            if len(body) > settings.max_body_bytes:
                raise _too_large(settings)
        else:
            async with asyncio.timeout(settings.body_seconds):
                body = await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise _too_large(settings) from None
    except TimeoutError:
        raise _too_slow() from None
    except (HttpProcessingError, web.RequestPayloadError) as error:
        raise _broken(error) from None
    if body and not raw:
        _check_type(request)
    return Content(body, request.headers.get("content-type", ""))


async def parts(request: web.BaseRequest, settings: Settings, *, raw: bool) -> AsyncIterator[Content]:
    """Yields what fills the messages of a client stream as it arrives: chunks of a raw body, lines of NDJSON, or the
    elements of a JSON array (which is read whole, so the limit of a body is its own).

    Raises:
        Refused: as `whole`; the limit of a body holds for each line.
    """
    content_type = request.headers.get("content-type", "")
    if raw or request.content_type.lower() in _LINES:
        if request.body_exists:
            await _expected(request, settings, endless=True)
        chunks = _chunks(request, settings)
        if raw:
            async for chunk in chunks:
                yield Content(chunk, content_type)
            return
        async for start, line in _lines(chunks, settings):
            yield Content(line, content_type, start)
        return
    body = (await whole(request, settings, raw=True)).body
    if not body:
        return
    _check_type(request, lines=True)
    try:
        for start, element in elements(
            body, max_depth=settings.max_json_depth, max_number_characters=settings.max_number_characters
        ):
            yield Content(element, content_type, start)
    except BadJson as error:
        at = "" if error.offset is None else f", byte {error.offset}"
        raise refusal(400, "INVALID_JSON", f"the body is no JSON array of messages{at}: {error}") from None


async def _expected(request: web.BaseRequest, settings: Settings, *, endless: bool = False) -> None:
    """Lets a client go on that waits for `100 Continue`; refuses one that has announced too much."""
    if not endless and (request.content_length or 0) > settings.max_body_bytes:
        raise _too_large(settings)
    expectation = request.headers.get("expect")
    if expectation is None:
        return
    if expectation.lower() != "100-continue":
        raise refusal(417, "UNKNOWN_EXPECTATION", f"the expectation {expectation[:40]!r} cannot be met", headers=_CLOSE)
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0  # aiohttp would take the answer for started


async def _chunks(request: web.BaseRequest, settings: Settings) -> AsyncIterator[bytes]:
    while True:
        try:
            async with asyncio.timeout(settings.body_seconds):
                chunk = await request.content.readany()
        except TimeoutError:
            raise _too_slow() from None
        except (HttpProcessingError, web.RequestPayloadError) as error:
            raise _broken(error) from None
        if not chunk:
            return
        yield chunk


async def _lines(chunks: AsyncIterator[bytes], settings: Settings) -> AsyncIterator[tuple[int, bytes]]:
    """Yields lines that are not blank, with the byte each starts at."""
    start, rest = 0, b""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield start, line
            start += len(line) + 1
        if len(rest) > settings.max_body_bytes:
            raise _too_large(settings)
    if rest.strip():
        yield start, rest


def _check_type(request: web.BaseRequest, *, lines: bool = False) -> None:
    charset = (request.charset or "utf-8").lower().replace("_", "-")
    if _JSON.fullmatch(request.content_type) and charset == "utf-8":
        return
    given = request.headers.get("content-type", "none")
    wanted = "application/json" + (" or application/x-ndjson" if lines else "")
    raise refusal(415, "NOT_JSON", f"send the body as Content-Type: {wanted} (in UTF-8); it came as {given[:80]}")


def _too_large(settings: Settings) -> Refused:
    return refusal(413, "BODY_TOO_LARGE", f"a body may have at most {settings.max_body_bytes} bytes", headers=_CLOSE)


def _too_slow() -> Refused:
    return refusal(408, "BODY_TOO_SLOW", "the body did not arrive in time", headers=_CLOSE)


def _broken(error: Exception) -> Refused:
    return refusal(400, "BROKEN_BODY", f"the body cannot be read: {error}", headers=_CLOSE)
