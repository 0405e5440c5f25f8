"""Writes a failure as the answer of a request."""

import re
from collections.abc import Mapping

from aiohttp import web

from gateway.google import is_google_client
from gateway.refusal import Refused

_PROBLEM = "application/problem+json"
_NO_WEIGHT = re.compile(r";\s*q=0(?:\.0*)?\s*(?:;|$)")


def failure_response(refused: Refused, headers: Mapping[str, str]) -> web.Response:
    """Writes a failure: as problem+json for clients that ask for it, as Google's clients read it, else as a Status."""
    failure = refused.failure
    content_type = "application/json"
    if _asks_for_problems(headers.get("accept", "")):
        content_type, body = _PROBLEM, failure.problem_json()
    elif is_google_client(headers):
        body = failure.error_json()
    else:
        body = failure.status_json()
    response = web.Response(
        status=failure.http_status, body=body, content_type=content_type, headers=dict(failure.headers)
    )
    if failure.headers.get("Connection") == "close":
        response.force_close()
    return response


def _asks_for_problems(accept: str) -> bool:
    return any(
        part.partition(";")[0].strip().lower() == _PROBLEM and not _NO_WEIGHT.search(part) for part in accept.split(",")
    )
