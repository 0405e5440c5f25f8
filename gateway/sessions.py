"""Sign-in for browsers: the token stays in a cookie no script can read, and writes need a CSRF token (`/session`).

The CSRF token is derived from the session's token, so nothing is kept here and every worker knows it; a page of
another site neither reads the cookie it is in nor can guess it.
"""

import hmac
import json
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

from aiohttp import web
from grpc import StatusCode

from gateway import metadata
from gateway.api import Api
from gateway.content import whole
from gateway.fields import field_named
from gateway.observing import context_of
from gateway.parameters import AnswerOptions
from gateway.refusal import Refused, refusal
from gateway.routes import Route
from gateway.settings import SessionRules, Settings
from gateway.upstream import Upstream

SESSION, CSRF, REFRESH = "astra_session", "astra_csrf", "astra_refresh"
PATH = "/session"
_HEADER = "x-csrf-token"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def bearer(request: web.BaseRequest) -> str | None:
    """Returns the token of a browser's session; None for other callers, and for those with a token of their own.

    Raises:
        Refused: a write without its CSRF token.
    """
    token = request.cookies.get(SESSION)
    if not token or "authorization" in request.headers:
        return None
    if request.method not in _SAFE and not hmac.compare_digest(
        request.headers.get(_HEADER, "").encode(), csrf_token(token).encode()
    ):
        raise refusal(403, "CSRF", f"a write in a session needs the value of the cookie {CSRF} as header X-CSRF-Token")
    return token


def csrf_token(token: str) -> str:
    return blake2b(token.encode(), digest_size=24, person=b"astra-csrf").hexdigest()


class Sessions:
    """Answers `POST /session` (sign in), `POST /session/refresh` and `DELETE /session` (sign out)."""

    def __init__(self, settings: Settings, upstream: Upstream) -> None:
        self._settings = settings
        self._upstream = upstream

    async def answer(self, request: web.BaseRequest, path: str, api: Api, correlation: str) -> web.Response | None:
        """Returns the answer; None if there are no sessions here or the path is none of them.

        Raises:
            Refused: as the rpc behind it; or the request is none of those three.
        """
        rules = self._settings.sessions
        if rules is None or path not in (PATH, f"{PATH}/refresh"):
            return None
        if (request.method, path) == ("POST", PATH):
            route = _route(api, rules.login_rpc)
            content = await whole(request, self._settings, raw=False)
            return await self._signed_in(request, api, rules, route, api.binder.part(route, content), correlation)
        if (request.method, path) == ("POST", f"{PATH}/refresh"):
            route = _route(api, rules.refresh_rpc)
            kept = request.cookies.get(REFRESH)
            if not kept:
                raise refusal(401, "NO_SESSION", "there is no session to refresh: sign in by POST /session")
            bearer(request)  # for its CSRF check, where the session's own cookie has not run out
            message = route.request.type()
            _set(message, route, rules.refresh_field, kept)
            return await self._signed_in(request, api, rules, route, message, correlation)
        if (request.method, path) == ("DELETE", PATH):
            return await self._signed_out(request, api, rules, correlation)
        allow = {"Allow": "DELETE, POST" if path == PATH else "POST"}
        raise refusal(405, "METHOD_NOT_ALLOWED", f"{request.method} is not allowed on {path}", headers=allow)

    async def _signed_in(
        self, request: web.BaseRequest, api: Api, rules: SessionRules, route: Route, message: Any, correlation: str
    ) -> web.Response:
        reply = await self._call(request, api, route, message, correlation, None)
        shown = json.loads(api.renderer.render(route, reply, AnswerOptions()))
        names = {name: field_named(route.response, name) for name in (rules.token_field, rules.refresh_field)}
        tokens = {name: str(reply[field]) if field is not None else "" for name, field in names.items()}
        for field in names.values():
            if field is not None:
                shown.pop(field.json_name, None)
        token, refresh = tokens[rules.token_field], tokens[rules.refresh_field]
        if not token:
            raise refusal(502, "BAD_REPLY", f"{route.rpc} answered without a {rules.token_field}")
        response = web.json_response({**shown, "csrfToken": csrf_token(token)}, headers={"Cache-Control": "no-store"})
        seconds = _seconds_until(str(shown.get("expireTime", "")))
        self._cookie(response, SESSION, token, seconds)
        self._cookie(response, CSRF, csrf_token(token), seconds, readable=True)
        if refresh:
            self._cookie(response, REFRESH, refresh, None, path=PATH)
        return response

    async def _signed_out(
        self, request: web.BaseRequest, api: Api, rules: SessionRules, correlation: str
    ) -> web.Response:
        token = bearer(request)
        kept = request.cookies.get(REFRESH, "")
        route = next((route for route in api.routes if route.rpc == rules.logout_rpc), None)
        if route is not None and (token or kept):  # the token's cookie ends long before the session
            message = route.request.type()
            _set(message, route, rules.refresh_field, kept)
            try:
                await self._call(request, api, route, message, correlation, token)
            except Refused as refused:
                if refused.failure.code != StatusCode.UNAUTHENTICATED.value[0]:
                    raise  # the cookies stay, so that the browser can try again
        response = web.Response(status=204)
        for name, path in ((SESSION, "/"), (CSRF, "/"), (REFRESH, PATH)):
            response.del_cookie(name, path=path)
        return response

    async def _call(
        self, request: web.BaseRequest, api: Api, route: Route, message: Any, correlation: str, token: str | None
    ) -> Any:
        sent = metadata.outgoing(
            request.headers,
            correlation=correlation,
            client_address=request.remote,
            session_token=token,
            context=context_of(request),
        )
        timeout = metadata.timeout_seconds(request.headers, self._settings)
        payload = message.to_binary()
        reply = await self._upstream.call(route.rpc, payload, api.outcomes, metadata=sent, timeout_seconds=timeout)
        return api.renderer.parse(route, reply.payload)

    def _cookie(
        self,
        response: web.Response,
        name: str,
        value: str,
        seconds: int | None,
        *,
        path: str = "/",
        readable: bool = False,
    ) -> None:
        secure = self._settings.secure_cookies
        response.set_cookie(
            name, value, max_age=seconds, path=path, httponly=not readable, samesite="Strict", secure=secure
        )


def _route(api: Api, rpc: str) -> Route:
    for route in api.routes:
        if route.rpc == rpc:
            return route
    raise refusal(501, "NOT_SERVED", f"there is no rpc {rpc} here")


def _set(message: Any, route: Route, name: str, value: str) -> None:
    field = field_named(route.request, name)
    if field is not None:
        message[field] = value


def _seconds_until(time: str) -> int | None:
    """Returns how long a cookie lives; None (as long as the browser) where the reply does not say."""
    try:
        until = datetime.fromisoformat(time)
    except ValueError:
        return None
    return max(0, int((until - datetime.now(UTC)).total_seconds()))
