"""Hands an answer over: its entity tag, `304` for a client that has it, gzip for one that takes it (rule 16)."""

import re
from hashlib import blake2b

from aiohttp import web

from gateway import google
from gateway.settings import Settings

_VARY = f"Accept-Encoding, {google.HEADER}"
_TAG = re.compile(r'(?:W/)?("[\x21\x23-\x7e]*")')
_NO_WEIGHT = re.compile(r";\s*q=0(?:\.0*)?\s*(?:;|$)")
_PACKED = re.compile(r"(?:image|audio|video)/(?!svg)|application/(?:zip|gzip|pdf|octet-stream)|font/", re.IGNORECASE)


def deliver(request: web.BaseRequest, body: bytes, content_type: str, settings: Settings) -> web.Response:
    """Returns the answer with a body, in the form this client wants it."""
    packed = (
        len(body) >= settings.compress_from_bytes
        and not _PACKED.match(content_type)
        and takes_gzip(request.headers.get("accept-encoding", ""))
    )
    response = web.Response(body=body, headers={"Content-Type": content_type, "Vary": _VARY})
    if request.method in ("GET", "HEAD"):
        # Strong: the same tag is the same bytes, so the packed form has another.
        tag = f'"{blake2b(body, digest_size=16).hexdigest()}{"-gzip" if packed else ""}"'
        response.headers["ETag"] = tag
        if _has(request.headers.getall("if-none-match", []), tag):
            return web.Response(status=304, headers={"ETag": tag, "Vary": _VARY})
    if packed:
        response.enable_compression(web.ContentCoding.gzip)
    return response


def takes_gzip(accept_encoding: str) -> bool:
    """Tells whether a client takes gzip: what is said of gzip itself counts before what is said of `*`."""
    said = {}
    for part in accept_encoding.lower().split(","):
        said[part.partition(";")[0].strip()] = not _NO_WEIGHT.search(part)
    return said.get("gzip", said.get("x-gzip", said.get("*", False)))


def _has(if_none_match: list[str], tag: str) -> bool:
    given = ",".join(if_none_match).strip()
    return given == "*" or tag in _TAG.findall(given)
