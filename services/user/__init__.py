"""User owns accounts, their passwords and roles, the keys of users' tokens, and profiles."""

from importlib.resources import files
from pathlib import Path

from services.domain import Domain
from services.mesh import Mesh
from services.runtime.clock import Clock, wall_clock
from services.runtime.limiter import Limiter
from services.runtime.store import Store
from services.user.api import UserApi
from services.user.jwks_listener import jwks_listener
from services.user.passwords import Passwords
from services.user.reactions import GROUPS
from services.user.sign_in_guard import SignInGuard
from services.user.signing_keys import SigningKeys
from services.user.tokens import TokenIssuer


def build(mesh: Mesh, *, clock: Clock = wall_clock, passwords: Passwords | None = None) -> Domain:
    """Makes the domain with its real adapters. Cheaper `passwords` are for tests."""
    store = open_store(mesh.database("user"), clock=clock)
    keys = SigningKeys(store)
    api = UserApi(store, passwords or Passwords(), TokenIssuer(keys), SignInGuard(Limiter(mesh)))
    return Domain(
        store=store,
        apis={"astra.user.v1.UserService": api},
        groups=GROUPS,
        listeners=[jwks_listener(mesh, keys)],
    )


def open_store(path: Path, *, clock: Clock = wall_clock) -> Store:
    """Opens the database, in a folder that only its owner may enter: private keys and password hashes are in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    return Store(path, domain="user", schema=files(__name__).joinpath("schema.sql").read_text(), clock=clock)
