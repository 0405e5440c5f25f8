"""What Google's generated REST clients take for granted beyond the http rules; they say who they are by a header.

They read every answer as the whole reply, whatever `response_body` says; failures as `{"error": …}` of AIP-193; and of
a stream they take every element for a message, so only an array that stays open shows them a failure (`frames`).
"""

import dataclasses
from typing import Protocol

from gateway.router import Match
from gateway.routes import Route

HEADER = "X-Goog-Api-Client"


class Headers(Protocol):
    """The headers of a request, case-insensitive."""

    def __contains__(self, name: object, /) -> bool: ...


def is_google_client(headers: Headers) -> bool:
    return HEADER in headers


def answering_whole(found: Match[Route]) -> Match[Route]:
    """Returns a match whose answer shows the whole reply; raw bytes stay as they are."""
    if found.target.response_body is None or found.target.raw_response:
        return found
    return dataclasses.replace(found, target=dataclasses.replace(found.target, response_body=None))
