"""The keys that sign users' tokens: made once for all processes, published as a JWKS, replaced without a gap."""

from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from services.runtime.store import Store
from services.runtime.transaction import Reader, Tx

TOKEN_MS = 15 * 60 * 1000
"""How long a token is good for."""
PUBLISH_MS = 15 * 1000
"""How long a new key is published before it signs: three times what Envoy caches the JWKS for."""
LEEWAY_MS = 60 * 1000
"""How much longer a retired key is published than the last token it signed lives: clocks differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """A key that signs."""

    kid: str
    private_pem: str = field(repr=False)


class SigningKeys:
    """Keeps the keys in the user database, where every process finds the same ones."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def signing(self) -> SigningKey:
        """Returns the key that signs now; makes the first one."""
        key = self._store.read_now(self._signing)
        if key is None:
            await self._make_first()
            key = self._store.read_now(self._signing)
            assert key is not None  # noqa: S101 - made just now, and keys go only after their successors sign
        return key

    async def public(self) -> dict[str, Any]:
        """Returns the JWKS (RFC 7517) of the keys that sign, will sign, or signed tokens that are still good."""
        keys = self._store.read_now(self._published)
        if not keys:
            await self._make_first()
            keys = self._store.read_now(self._published)
        return {"keys": [_public_jwk(key) for key in keys]}

    async def _make_first(self) -> None:
        pem = new_private_pem()

        def work(tx: Tx) -> None:
            # Asked again in the writer's turn: another process may have made it.
            if not tx.value("SELECT count(*) FROM signing_key"):
                _insert(tx, pem, sign_from_ms=tx.now_ms)

        await self._store.write(work)

    def _signing(self, db: Reader) -> SigningKey | None:
        row = db.one(
            "SELECT kid, private_pem FROM signing_key WHERE sign_from_ms <= ? ORDER BY sign_from_ms DESC, kid DESC",
            self._store.clock(),
        )
        return None if row is None else SigningKey(kid=row["kid"], private_pem=row["private_pem"])

    def _published(self, db: Reader) -> list[SigningKey]:
        rows = db.all(
            "SELECT kid, private_pem FROM signing_key WHERE verify_until_ms IS NULL OR verify_until_ms > ?"
            " ORDER BY create_ms, kid",
            self._store.clock(),
        )
        return [SigningKey(kid=row["kid"], private_pem=row["private_pem"]) for row in rows]


def rotate(tx: Tx, private_pem: str) -> str:
    """Adds a key and returns its id: published at once, signing once every cache has it, or now if it is the first.

    Its predecessors stay published until the last token they signed has ended; keys past that are deleted.
    """
    first = not tx.value("SELECT count(*) FROM signing_key")
    sign_from_ms = tx.now_ms if first else tx.now_ms + PUBLISH_MS
    tx.execute("DELETE FROM signing_key WHERE verify_until_ms <= ?", tx.now_ms)
    tx.execute(
        "UPDATE signing_key SET verify_until_ms = ? WHERE verify_until_ms IS NULL",
        sign_from_ms + TOKEN_MS + LEEWAY_MS,
    )
    return _insert(tx, private_pem, sign_from_ms=sign_from_ms)


def new_private_pem() -> str:
    """Makes a P-256 key, as ES256 needs (RFC 7518, 3.4)."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def _insert(tx: Tx, private_pem: str, *, sign_from_ms: int) -> str:
    kid = tx.new_id()
    tx.execute("INSERT INTO signing_key VALUES (?, ?, ?, ?, NULL)", kid, private_pem, tx.now_ms, sign_from_ms)
    return kid


def _public_jwk(key: SigningKey) -> dict[str, Any]:
    private = serialization.load_pem_private_key(key.private_pem.encode(), password=None)
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise TypeError(f"signing key {key.kid} is not a key for ES256")
    jwk = ECAlgorithm.to_jwk(private.public_key(), as_dict=True)
    return {**jwk, "kid": key.kid, "alg": "ES256", "use": "sig"}
