"""The local command that makes an admin, beside a running service."""

from typing import Any

import jwt
import pytest
from astra.user.v1 import user_pb2
from astra.user.v1.events_pb2 import ProfileUpdated
from astra.user.v1.user_service_pb2 import GetUserRequest
from structlog.testing import capture_logs

from services import contracts
from services.domain import Domain
from services.mesh import Mesh
from services.runtime.errors import AlreadyExists, FailedPrecondition, InvalidArgument, MeshError
from services.runtime.store import Store
from services.user import open_store
from services.user.admin import make_admin, make_admin_of
from services.user.model import UserState
from services.user.passwords import Passwords
from tests.serving import as_user
from tests.unit_user.users import PASSWORD, count, envelopes, registering, signing_in


def roles(token: str) -> str:
    return str(jwt.decode(token, options={"verify_signature": False})["roles"])


def audit(store: Store) -> list[tuple[Any, ...]]:
    rows = store.read_now(lambda db: db.all("SELECT os_user, action, detail FROM admin_audit ORDER BY audit_id"))
    return [tuple(row) for row in rows]


async def test_new_admin_signs_in_to_the_running_service(
    stub: Any, domain: Domain, mesh: Mesh, passwords: Passwords
) -> None:
    beside = open_store(mesh.database("user"))
    made = await make_admin(beside, "root", PASSWORD, passwords=passwords, os_user="op")
    await beside.close()
    assert (made.registered, made.granted) == (True, True)
    reply = await stub.Login(signing_in("root"))
    assert (reply.user_id, roles(reply.access_token)) == (made.user_id, "user admin")
    got = (await stub.GetUser(GetUserRequest(), metadata=as_user(made.user_id))).user
    assert list(got.roles) == [user_pb2.ROLE_USER, user_pb2.ROLE_ADMIN]
    assert got.email == ""
    assert audit(domain.store) == [("op", "make_admin", f"user_id={made.user_id} registered=True granted=True")]


async def test_user_that_exists_is_an_admin_from_its_next_sign_in(
    stub: Any, domain: Domain, mesh: Mesh, passwords: Passwords
) -> None:
    user = (await stub.RegisterUser(registering("Ann"))).user
    before = (await stub.Login(signing_in())).access_token
    beside = open_store(mesh.database("user"))
    with capture_logs() as logs:
        first = await make_admin(beside, "ann", PASSWORD, passwords=passwords, os_user="op")
        again = await make_admin(beside, "ANN", PASSWORD, passwords=passwords, os_user="op")
    await beside.close()
    assert (first.user_id, first.registered, first.granted) == (user.user_id, False, True)
    assert (again.user_id, again.registered, again.granted) == (user.user_id, False, False)
    after = (await stub.Login(signing_in())).access_token
    assert (roles(before), roles(after)) == ("user", "user admin")
    last = envelopes(domain.store)
    updates = [envelope for envelope in last if envelope.type == "astra.user.v1.ProfileUpdated"]
    assert [list(ProfileUpdated.FromString(update.data).changed_fields) for update in updates] == [["roles"]]
    assert len(audit(domain.store)) == 2
    assert [line["event"] for line in logs] == ["user.admin_made"] * 2
    assert PASSWORD not in str(logs)


async def test_name_that_somebody_else_took_first_is_not_made_admin(
    stub: Any, domain: Domain, passwords: Passwords
) -> None:
    await stub.RegisterUser(registering("admin", password="of-a-squatter"))
    with pytest.raises(AlreadyExists, match="choose another username"):
        await make_admin(domain.store, "admin", PASSWORD, passwords=passwords)
    assert roles((await stub.Login(signing_in("admin", "of-a-squatter"))).access_token) == "user"


async def test_suspended_user_is_not_made_admin(stub: Any, domain: Domain, passwords: Passwords) -> None:
    await stub.RegisterUser(registering())
    await domain.store.write(lambda tx: tx.execute("UPDATE account SET state = ?", UserState.SUSPENDED))
    with pytest.raises(FailedPrecondition):
        await make_admin(domain.store, "ann", PASSWORD, passwords=passwords)


@pytest.mark.parametrize(
    ("username", "password", "email", "error"),
    [
        ("a", PASSWORD, "", InvalidArgument),
        ("root", "short", "", InvalidArgument),
        ("root", PASSWORD, "nowhere", InvalidArgument),
        ("root", PASSWORD, "ann@example.org", AlreadyExists),
    ],
)
async def test_refused_command_leaves_nothing(
    stub: Any, domain: Domain, passwords: Passwords, username: str, password: str, email: str, error: type[MeshError]
) -> None:
    await stub.RegisterUser(registering())
    with pytest.raises(error):
        await make_admin(domain.store, username, password, email=email, passwords=passwords)
    assert (count(domain.store, "account"), audit(domain.store)) == (1, [])


async def test_several_admins_need_no_address(domain: Domain, passwords: Passwords) -> None:
    for username in ("root", "ruth"):
        assert (await make_admin(domain.store, username, PASSWORD, passwords=passwords)).registered
    await domain.store.close()


async def test_command_works_before_the_first_start_and_says_what_it_did(mesh: Mesh) -> None:
    said = [await make_admin_of(mesh, "root", PASSWORD) for _ in range(2)]
    assert "is registered and an admin" in said[0]
    assert "was an admin" in said[1]
    with pytest.raises(SystemExit, match="username must be"):
        await make_admin_of(mesh, "a", PASSWORD)


def test_no_rpc_gives_roles() -> None:
    requests = [rpc.request.DESCRIPTOR for rpc in contracts.rpcs().values() if rpc.domain == "user"]
    assert requests
    assert not [request.name for request in requests if {"role", "roles"} & set(request.fields_by_name)]
