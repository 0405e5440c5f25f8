"""Access tokens: what is stated of a user for 15 minutes, signed with the current key."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import jwt

from services.runtime.clock import Ids, uuid7
from services.user.model import Role, token_roles
from services.user.signing_keys import TOKEN_MS, SigningKeys

ISSUER, AUDIENCE = "users", "astra"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken:
    """A token and when it ends."""

    jwt: str = field(repr=False)
    expire_ms: int


class TokenIssuer:
    """Mints access tokens (RFC 7519), ES256."""

    def __init__(self, keys: SigningKeys, *, ids: Ids = uuid7) -> None:
        self._keys = keys
        self._ids = ids

    async def issue(self, user_id: str, roles: Iterable[Role], *, issue_ms: int, session_expire_ms: int) -> AccessToken:
        """Returns a token that says who, since when and which roles; it ends with the session at the latest."""
        key = await self._keys.signing()
        issued = issue_ms // 1000
        expires = min(issued + TOKEN_MS // 1000, session_expire_ms // 1000)
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": user_id,
            "roles": token_roles(roles),
            "iat": issued,
            "exp": expires,
            "jti": self._ids(),
        }
        token = jwt.encode(claims, key.private_pem, algorithm="ES256", headers={"kid": key.kid})
        return AccessToken(jwt=token, expire_ms=expires * 1000)
