"""A client of the mesh's REST face: what an app would do, with the retries that a `request_id` makes harmless."""

import asyncio
import json
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol, Self

import aiohttp

from services.mesh import Mesh

PASSWORD = "correct horse battery"
SECRET_FIELDS = frozenset(
    {"password", "currentPassword", "newPassword", "email", "accessToken", "refreshToken", "number"}
)
SHORTEST_SECRET = 8
"""Characters; the same names are used of other things too, such as the number of an audit entry."""
RETRIED_STATUSES = frozenset({502, 503, 504})
RETRY_SECONDS = 0.1
ATTEMPT_SECONDS = 10.0


class Refused(Exception):
    """An answer that is not a success."""

    def __init__(self, status: int, body: Any, what: str) -> None:
        super().__init__(f"{what}: {status} {body}")
        self.status = status
        self.body = body


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A user who is signed in."""

    user_id: str
    token: str
    refresh_token: str = ""


class Scene(Protocol):
    """A mesh that can be called, with an admin signed in; where it runs is of no matter."""

    admin: Session

    @property
    def rest(self) -> "RestClient": ...


class RestClient:
    """Calls the gateway. A call that finds something away is repeated as it was, until the deadline."""

    def __init__(self, mesh: Mesh, *, patience_seconds: float) -> None:
        self._http = aiohttp.ClientSession(
            f"http://{mesh.addresses['gateway']}", timeout=aiohttp.ClientTimeout(total=ATTEMPT_SECONDS)
        )
        self._patience_seconds = patience_seconds
        self.secrets: set[str] = set()
        """What was sent or answered that nobody else may see: passwords, tokens, e-mail addresses, card numbers."""
        self.refusals: list[tuple[str, str]] = []
        """Every answer that was no success: the call, and the answer as text."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def register(self, username: str) -> str:
        """Registers a user and returns its id."""
        body = {"username": username, "email": f"{username}@example.com", "password": PASSWORD}
        return str((await self.post("/v1/users", body))["userId"])

    async def login(self, username: str, password: str = PASSWORD) -> Session:
        """Signs a user in."""
        answer = await self.post("/v1/sessions", {"username": username, "password": password}, with_request_id=False)
        return Session(user_id=answer["userId"], token=answer["accessToken"], refresh_token=answer["refreshToken"])

    async def award_xp(self, admin: Session, user_id: str, xp: int, *, correlation_id: str) -> Any:
        """Awards XP; returns the progression."""
        path = f"/v1/users/{user_id}/progression:awardXp"
        return await self.post(path, {"xp": str(xp)}, session=admin, correlation_id=correlation_id)

    async def fund(self, admin: Session, user_id: str, balance_usd: Decimal) -> None:
        """Brings a user's practice money up to a balance."""
        portfolio = await self.get(f"/v1/users/{user_id}/portfolio", session=admin)
        missing = balance_usd - Decimal(portfolio["balance"]["amount"])
        answer = await self.post(
            f"/v1/users/{user_id}/portfolio:grantPracticeFunds", {"amount": money(missing)}, session=admin
        )
        if Decimal(answer["balance"]["amount"]) != balance_usd:
            raise Refused(200, answer, f"funds of {user_id} should be {balance_usd}")

    async def trade(
        self, session: Session, symbol: str, amount_usd: Decimal, *, correlation_id: str, request_id: str = ""
    ) -> Any:
        """Buys; returns the trade."""
        body = {"symbol": symbol, "amount": money(amount_usd), "direction": "DIRECTION_LONG"}
        if request_id:
            body["requestId"] = request_id
        path = f"/v1/users/{session.user_id}/trades"
        return await self.post(path, body, session=session, correlation_id=correlation_id)

    async def get(self, path: str, *, session: Session | None = None) -> Any:
        return await self._call("GET", path, headers=_headers(session, ""))

    async def post(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        session: Session | None = None,
        correlation_id: str = "",
        with_request_id: bool = True,
    ) -> Any:
        """Sends a write, with a `requestId` of its own unless it has one, the same in every attempt."""
        if with_request_id:
            body = {"requestId": uuid.uuid4().hex, **body}
        return await self._call("POST", path, headers=_headers(session, correlation_id), json=body)

    async def _call(self, method: str, path: str, *, headers: Mapping[str, str], **options: Any) -> Any:
        deadline = time.monotonic() + self._patience_seconds
        self.secrets |= set(_secrets_in(options))
        while True:
            try:
                async with self._http.request(method, path, headers=headers, **options) as answer:
                    body = await answer.json(content_type=None)
                    if answer.ok:
                        self.secrets |= set(_secrets_in(body))
                        _check_correlation(headers, answer)
                        return body
                    self.refusals.append((f"{method} {path}", json.dumps(body)))
                    refused: Exception = Refused(answer.status, body, f"{method} {path}")
                    if answer.status not in RETRIED_STATUSES:
                        raise refused
            except (aiohttp.ClientError, TimeoutError) as error:
                refused = error
            if time.monotonic() > deadline:
                raise refused
            await asyncio.sleep(RETRY_SECONDS)


def _secrets_in(body: Any) -> Iterator[str]:
    """Yields what is secret in JSON, at any depth."""
    if isinstance(body, Mapping):
        for name, value in body.items():
            if name in SECRET_FIELDS and isinstance(value, str) and len(value) >= SHORTEST_SECRET:
                yield value
            else:
                yield from _secrets_in(value)
    elif isinstance(body, list):
        for value in body:
            yield from _secrets_in(value)


def money(amount_usd: Decimal) -> dict[str, str]:
    """Returns dollars as JSON."""
    return {"currencyCode": "USD", "amount": f"{amount_usd:.2f}"}


def _headers(session: Session | None, correlation_id: str) -> dict[str, str]:
    headers = {"Authorization": f"Bearer {session.token}"} if session else {}
    return headers | ({"X-Correlation-ID": correlation_id} if correlation_id else {})


def _check_correlation(headers: Mapping[str, str], answer: aiohttp.ClientResponse) -> None:
    sent, came = headers.get("X-Correlation-ID"), answer.headers.get("X-Correlation-ID", "")
    if not came or (sent and came != sent):
        raise Refused(answer.status, dict(answer.headers), f"X-Correlation-ID: sent {sent!r}, answered {came!r}")
