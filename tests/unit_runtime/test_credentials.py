"""Keys, tokens and passwords of the processes."""

import json
import stat
from pathlib import Path

import jwt
import pytest

from services.mesh import SERVICES, Mesh
from services.runtime.credentials import PROCESSES, ServiceToken, key_path, make_credentials

START_MS = 1_800_000_000_000


@pytest.fixture
def mesh(tmp_path: Path) -> Mesh:
    mesh = Mesh.at(tmp_path, free_ports=True)
    make_credentials(mesh)
    return mesh


class HandClock:
    def __init__(self) -> None:
        self.ms = START_MS

    def __call__(self) -> int:
        return self.ms


def test_every_process_has_a_key_and_the_jwks_holds_only_the_public_ones(mesh: Mesh) -> None:
    jwks = json.loads((mesh.keys_dir / "services.jwks.json").read_text())
    assert [key["kid"] for key in jwks["keys"]] == list(PROCESSES)
    assert {service.name for service in SERVICES} | {"bridge", "gateway", "operator"} == set(PROCESSES)
    assert all(set(key) == {"kty", "crv", "x", "y", "kid", "alg", "use"} for key in jwks["keys"])


def test_only_the_owner_may_read_a_credential(mesh: Mesh) -> None:
    assert stat.S_IMODE(mesh.keys_dir.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in mesh.keys_dir.iterdir()} == {0o600}


def test_a_second_run_keeps_what_is_there_and_makes_what_is_missing(mesh: Mesh) -> None:
    before = {path.name: path.read_bytes() for path in mesh.keys_dir.iterdir()}
    key_path(mesh.keys_dir, "nft").unlink()
    make_credentials(mesh)
    after = {path.name: path.read_bytes() for path in mesh.keys_dir.iterdir()}
    assert {name for name in after if after[name] != before[name]} == {"nft.pem", "services.jwks.json"}


def test_a_token_says_who_the_process_is_for_five_minutes(mesh: Mesh) -> None:
    token = ServiceToken(mesh.keys_dir, "social", HandClock()).bearer()
    assert jwt.get_unverified_header(token) == {"alg": "ES256", "kid": "social", "typ": "JWT"}
    keys = jwt.PyJWKSet.from_json((mesh.keys_dir / "services.jwks.json").read_text())
    claims = jwt.decode(
        token,
        keys["social"],
        algorithms=["ES256"],
        audience="astra",
        options={"verify_exp": False, "verify_iat": False},
    )
    start = START_MS // 1000
    assert claims == {"iss": "services", "aud": "astra", "sub": "service:social", "iat": start, "exp": start + 300}
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(token, keys["user"], algorithms=["ES256"], audience="astra")


def test_a_token_is_kept_until_it_is_about_to_end(mesh: Mesh) -> None:
    clock = HandClock()
    token = ServiceToken(mesh.keys_dir, "bridge", clock)
    first = token.bearer()
    clock.ms += 239_000
    assert token.bearer() == first
    clock.ms += 1_000
    assert token.bearer() != first


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such key; `make run` makes it"),
        (b"nonsense", "delete it and `make run` makes a new one"),
    ],
)
def test_an_unusable_key_is_an_error_that_says_what_to_do(mesh: Mesh, content: bytes | None, message: str) -> None:
    path = key_path(mesh.keys_dir, "user")
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SystemExit, match=message):
        ServiceToken(mesh.keys_dir, "user")
