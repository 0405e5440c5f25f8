"""What proves who a process is: its key pair and the tokens minted with it, and the passwords of the Redis roles.

The public keys stand together in `keys_dir/services.jwks.json`, which Envoy is given as a local JWKS.
"""

import json
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from services.mesh import SERVICES, Mesh
from services.runtime.clock import Clock, wall_clock
from services.runtime.redis_acl import ROLES

PROCESSES = (*(service.name for service in SERVICES), "bridge", "gateway", "operator")
"""Who has a key pair. `operator` is the person at the machine."""

AUDIENCE = "astra"
ISSUER = "services"
TOKEN_SECONDS = 300
RENEW_SECONDS = 60
"""A token is replaced when less than this is left of it, so that no call sets out with one about to end."""


def make_credentials(mesh: Mesh) -> None:
    """Creates the keys and passwords that are missing; what is there stays. Only the owner may read them."""
    mesh.keys_dir.mkdir(parents=True, exist_ok=True)
    mesh.keys_dir.chmod(0o700)
    for name in PROCESSES:
        if not key_path(mesh.keys_dir, name).exists():
            write_private(key_path(mesh.keys_dir, name), _new_key())
    for role in ROLES:
        if not password_path(mesh.keys_dir, role).exists():
            write_private(password_path(mesh.keys_dir, role), secrets.token_urlsafe(24).encode())
    jwks = json.dumps(public_keys(mesh.keys_dir, PROCESSES), indent=2)
    write_private(mesh.keys_dir / "services.jwks.json", jwks.encode() + b"\n")


def public_keys(keys_dir: Path, names: Iterable[str]) -> dict[str, Any]:
    """Returns the JWKS (RFC 7517) with the public keys of these processes, `kid` = name."""
    keys = []
    for name in names:
        public = _private_key(keys_dir, name).public_key()
        keys.append({**ECAlgorithm.to_jwk(public, as_dict=True), "kid": name, "alg": "ES256", "use": "sig"})
    return {"keys": keys}


class ServiceToken:
    """Mints a process's own tokens, each good for 5 minutes, and keeps one until it is about to end."""

    def __init__(self, keys_dir: Path, name: str, clock: Clock = wall_clock) -> None:
        self._key = _private_key(keys_dir, name)
        self._name = name
        self._clock = clock
        self._token = ""
        self._renew_at = 0

    def bearer(self) -> str:
        """Returns a token that is good for at least a minute, without the word `Bearer`."""
        now = self._clock() // 1000
        if now >= self._renew_at:
            claims = {
                "iss": ISSUER,
                "aud": AUDIENCE,
                "sub": f"service:{self._name}",
                "iat": now,
                "exp": now + TOKEN_SECONDS,
            }
            self._token = jwt.encode(claims, self._key, algorithm="ES256", headers={"kid": self._name})
            self._renew_at = now + TOKEN_SECONDS - RENEW_SECONDS
        return self._token


def read_password(keys_dir: Path, role: str) -> str:
    """Reads the password of a Redis role."""
    try:
        return password_path(keys_dir, role).read_text().strip()
    except FileNotFoundError:
        raise SystemExit(f"{password_path(keys_dir, role)}: no such password; `make run` makes it") from None


def key_path(keys_dir: Path, name: str) -> Path:
    return keys_dir / f"{name}.pem"


def password_path(keys_dir: Path, role: str) -> Path:
    return keys_dir / f"redis-{role}.password"


def write_private(path: Path, content: bytes) -> None:
    """Replaces a file at once by one that only the owner may read: no reader ever sees half of it."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _new_key() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _private_key(keys_dir: Path, name: str) -> ec.EllipticCurvePrivateKey:
    path = key_path(keys_dir, name)
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except FileNotFoundError:
        raise SystemExit(f"{path}: no such key; `make run` makes it") from None
    except (ValueError, TypeError) as error:
        raise SystemExit(f"{path}: not a private key ({error}); delete it and `make run` makes a new one") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise SystemExit(f"{path}: not a key for ES256; delete it and `make run` makes a new one")
    return key
