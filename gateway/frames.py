"""How the messages of a server stream are told apart: JSON array, NDJSON, server-sent events or raw bytes (rule 15)."""

import re
from abc import ABC, abstractmethod

from gateway.refusal import Failure

_QUALITY = re.compile(r";\s*q=([01](?:\.[0-9]{0,3})?)\s*(?:;|$)")
_NO_ID = re.compile(r"[\r\n\0]")


class Frames(ABC):
    """Writes one stream; it counts its messages."""

    media_type: str
    heartbeat: bytes = b""
    """What may stand between messages while nothing happens; empty if nothing may."""
    opens_at_once = False
    """Whether the client should see the answer begin although no message is there yet."""

    @abstractmethod
    def message(self, body: bytes, resume_token: str) -> bytes: ...

    def failure(self, failure: Failure) -> bytes | None:
        """Returns what shows a failure in mid-stream; None if only a connection that breaks can."""
        return None

    def end(self) -> bytes:
        return b""


class JsonArray(Frames):
    """One JSON array; a failure is its last element, `{"error": …}`."""

    media_type = "application/json"

    def __init__(self) -> None:
        self._before = b"["

    def message(self, body: bytes, resume_token: str) -> bytes:
        before, self._before = self._before, b",\n"
        return before + body

    def failure(self, failure: Failure) -> bytes:
        return self.message(b'{"error":' + failure.status_json() + b"}", "") + b"]"

    def end(self) -> bytes:
        return b"[]" if self._before == b"[" else b"]"


class UnfinishedArray(JsonArray):
    """One JSON array for Google's clients: a failure is its last element and stays open, which they raise and show."""

    def failure(self, failure: Failure) -> bytes:
        return self.message(failure.error_json().removesuffix(b"}"), "")


class Lines(Frames):
    """One JSON object a line; a failure is the last line, `{"error": …}`."""

    media_type = "application/x-ndjson"

    def message(self, body: bytes, resume_token: str) -> bytes:
        # Only pretty-printing makes lines; JSON has no raw line break inside of a string.
        return body.replace(b"\n", b" ") + b"\n"

    def failure(self, failure: Failure) -> bytes:
        return self.message(b'{"error":' + failure.status_json() + b"}", "")


class Events(Frames):
    """Server-sent events. An event's id is its resume token; a failure is an event of the type `error`."""

    media_type = "text/event-stream"
    heartbeat = b": heartbeat\n\n"
    opens_at_once = True

    def message(self, body: bytes, resume_token: str) -> bytes:
        named = f"id: {resume_token}\n".encode() if resume_token and not _NO_ID.search(resume_token) else b""
        return named + b"data: " + body.replace(b"\n", b"\ndata: ") + b"\n\n"

    def failure(self, failure: Failure) -> bytes:
        return b"event: error\ndata: " + failure.status_json() + b"\n\n"


class Raw(Frames):
    """The data of `google.api.HttpBody` messages, with the content type of the first."""

    def __init__(self, media_type: str) -> None:
        self.media_type = media_type

    def message(self, body: bytes, resume_token: str) -> bytes:
        return body


_BY_TYPE: dict[str, type[JsonArray | Lines | Events]] = {
    "application/json": JsonArray,
    "application/x-ndjson": Lines,
    "application/ndjson": Lines,
    "application/jsonl": Lines,
    "text/event-stream": Events,
}


def frames_for(accept: str, *, for_google: bool = False) -> Frames:
    """Returns the frames a client likes best; a JSON array if it names none of them, or for a client of Google's."""
    if for_google:
        return UnfinishedArray()
    best: type[JsonArray | Lines | Events] = JsonArray
    quality = 0.0
    for part in accept.split(","):
        name = part.partition(";")[0].strip().lower()
        found = _BY_TYPE.get(name) or (JsonArray if name in ("*/*", "application/*") else None)
        weight = _QUALITY.search(part)
        liked = float(weight[1]) if weight else 1.0
        if found is not None and liked > quality:
            best, quality = found, liked
    return best()
