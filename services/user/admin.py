"""Local commands of whoever may open the database: the first admin, new signing keys.

No rpc does this, the database stays open to the service meanwhile, and each command leaves a row in `admin_audit`.
"""

import os
import pwd
from dataclasses import dataclass

import structlog

from services.mesh import Mesh
from services.runtime.errors import AlreadyExists, FailedPrecondition, MeshError
from services.runtime.store import Store
from services.runtime.transaction import Tx
from services.user import open_store, signing_keys
from services.user import store as sql
from services.user.model import Role, UserState, check_registration
from services.user.passwords import Passwords
from services.user.reactions import record_profile
from services.user.registration import register

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeAdmin:
    """What `make_admin` did."""

    user_id: str
    registered: bool
    """Whether the user was new."""
    granted: bool
    """Whether the role was; False if the user had it."""


async def make_admin_of(mesh: Mesh, username: str, password: str, *, email: str = "") -> str:
    """Makes an admin of a mesh and returns a line that says so. Raises `SystemExit` with what to do instead."""
    store = open_store(mesh.database("user"))
    passwords = Passwords(threads=1)
    try:
        made = await make_admin(store, username, password, email=email, passwords=passwords)
    except MeshError as error:
        raise SystemExit(error.message) from None
    finally:
        passwords.close()
        await store.close()
    did = "is registered and an admin" if made.registered else "is an admin now" if made.granted else "was an admin"
    return f"{username} {did} (user_id {made.user_id}); tokens say so from the next sign-in on"


async def make_admin(
    store: Store, username: str, password: str, *, email: str = "", passwords: Passwords, os_user: str | None = None
) -> MadeAdmin:
    """Gives a user the role admin, registering it if need be; the next Login carries it.

    A user that exists must have this password: somebody else may have taken the name. Raises `InvalidArgument` for a
    malformed name, password or e-mail address, `AlreadyExists` when the name or the address is another's, and
    `FailedPrecondition` for a suspended user.
    """
    account = store.read_now(lambda db: sql.find_account(db, username))
    if account is None:
        registration = check_registration(username=username, email=email, password=password, display_name="")
        password_hash = await passwords.hash(password)
    elif not await passwords.verify(account.password_hash, password):
        raise AlreadyExists(
            f"{username} is registered with another password; give that one, or choose another username",
            reason="USERNAME_TAKEN",
            username=username,
        )
    elif account.state is UserState.SUSPENDED:
        raise FailedPrecondition(f"{username} is suspended; choose another username", reason="USER_SUSPENDED")
    who = os_user or _os_user()

    def work(tx: Tx) -> MadeAdmin:
        user_id = account.user_id if account else register(tx, registration, password_hash)
        granted = sql.add_role(tx, user_id, Role.ADMIN)
        if granted:
            record_profile(tx, user_id, "roles")
        made = MadeAdmin(user_id=user_id, registered=account is None, granted=granted)
        sql.add_audit(tx, who, "make_admin", f"user_id={user_id} registered={made.registered} granted={made.granted}")
        return made

    made = await store.write(work)
    log.warning("user.admin_made", os_user=who, user_id=made.user_id, registered=made.registered, granted=made.granted)
    return made


async def rotate_user_keys_of(mesh: Mesh) -> str:
    """Rotates the keys of a mesh and returns a line that says so."""
    store = open_store(mesh.database("user"))
    try:
        kid = await rotate_user_keys(store)
    finally:
        await store.close()
    return f"key {kid} is published and signs in {signing_keys.PUBLISH_MS // 1000} s; tokens signed before stay good"


async def rotate_user_keys(store: Store, *, os_user: str | None = None) -> str:
    """Makes a new key for users' tokens and returns its id; it signs once Envoy has it, and no session ends."""
    who, pem = os_user or _os_user(), signing_keys.new_private_pem()

    def work(tx: Tx) -> str:
        kid = signing_keys.rotate(tx, pem)
        sql.add_audit(tx, who, "rotate_user_keys", f"kid={kid}")
        return kid

    kid = await store.write(work)
    log.warning("user.keys_rotated", os_user=who, kid=kid)
    return kid


def _os_user() -> str:
    """Returns who runs this process, by its uid: $USER says what one likes."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid:{os.getuid()}"
