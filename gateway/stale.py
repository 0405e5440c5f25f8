"""The last good answers of reads that may be answered from them while their service is down (rule 14)."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b

from gateway.refusal import Failure
from gateway.routes import Route
from gateway.settings import Settings

_OUTAGE = frozenset({503, 504})
_GONE = frozenset({401, 403, 404})
_METHODS = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class LastAnswer:
    payload: bytes
    age_seconds: int

    @property
    def headers(self) -> dict[str, str]:
        """What tells a client that, and how, the answer is old."""
        return {
            "Age": str(self.age_seconds),
            "Warning": '110 - "Response is Stale"',
            "X-Astra-Stale": "true",
            "Cache-Control": "no-store",
        }


class LastAnswers:
    """Keeps replies by rpc, request and caller, so that nobody gets another caller's; the oldest go first."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._kept: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()
        self._bytes = 0

    @staticmethod
    def key(method: str, route: Route, payload: bytes, authorization: str) -> bytes | None:
        """Returns what a request's answer is kept under; None if it may not be kept."""
        if not route.stale_ok or method not in _METHODS:
            return None
        digest = blake2b(digest_size=32)
        for part in (route.rpc.encode(), authorization.encode(), payload):
            digest.update(len(part).to_bytes(8, "big") + part)
        return digest.digest()

    def keep(self, key: bytes, payload: bytes) -> None:
        self.forget(key)
        if len(payload) > self._settings.stale_max_bytes:
            return
        self._kept[key] = payload, self._clock()
        self._bytes += len(payload)
        while self._bytes > self._settings.stale_total_bytes or len(self._kept) > self._settings.stale_entries:
            self.forget(next(iter(self._kept)))

    def forget(self, key: bytes) -> None:
        if kept := self._kept.pop(key, None):
            self._bytes -= len(kept[0])

    def instead_of(self, failure: Failure, key: bytes) -> LastAnswer | None:
        """Returns the last answer where a failure is an outage; forgets it where the service says it is gone."""
        if failure.http_status in _GONE:
            self.forget(key)
        if failure.http_status not in _OUTAGE or key not in self._kept:
            return None
        payload, kept_at = self._kept[key]
        age_seconds = int(self._clock() - kept_at)
        if age_seconds > self._settings.stale_max_age_seconds:
            self.forget(key)
            return None
        return LastAnswer(payload, age_seconds)
