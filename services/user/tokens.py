"""Access tokens: what is stated of a user for 15 minutes, signed with the current key."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import jwt

from services.runtime.clock import Clock, Ids, uuid7
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

    def __init__(self, keys: SigningKeys, *, clock: Clock, ids: Ids = uuid7) -> None:
        self._keys = keys
        self._clock = clock
        self._ids = ids

    async def issue(self, user_id: str, roles: Iterable[Role]) -> AccessToken:
        """Returns a token that says who and which roles."""
        key = await self._keys.signing()
        issued = self._clock() // 1000
        expires = issued + TOKEN_MS // 1000
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
