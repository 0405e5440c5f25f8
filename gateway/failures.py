"""Writes a failure as the answer of a request."""

import re

from aiohttp import web

from gateway.refusal import Refused

_PROBLEM = "application/problem+json"


def failure_response(refused: Refused, accept: str) -> web.Response:
    """Writes a failure: as problem+json for clients that ask for it, else as `google.rpc.Status`."""
    failure = refused.failure
    problem = any(
        part.partition(";")[0].strip().lower() == _PROBLEM and not re.search(r";\s*q=0(?:\.0*)?\s*(?:;|$)", part)
        for part in accept.split(",")
    )
    response = web.Response(
        status=failure.http_status,
        body=failure.problem_json() if problem else failure.status_json(),
        content_type=_PROBLEM if problem else "application/json",
        headers=dict(failure.headers),
    )
    if failure.headers.get("Connection") == "close":
        response.force_close()
    return response
