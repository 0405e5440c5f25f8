"""Registering a user, in one transaction: for the rpc and for the local command that makes the first admin."""

from astra.user.v1.events_pb2 import UserRegistered

from services.runtime.errors import AlreadyExists
from services.runtime.transaction import Tx
from services.user import store as sql
from services.user.model import Registration


def register(tx: Tx, registration: Registration, password_hash: str) -> str:
    """Adds a user, records `UserRegistered` and returns its id.

    Raises `AlreadyExists`: `USERNAME_TAKEN` or `EMAIL_TAKEN`, whatever the case.
    """
    if sql.username_taken(tx, registration.username):
        raise AlreadyExists(
            f"the username {registration.username} is taken; choose another one",
            reason="USERNAME_TAKEN",
            username=registration.username,
        )
    if registration.email and sql.email_taken(tx, registration.email):
        raise AlreadyExists(
            "a user with this e-mail address exists; sign in, or give another address", reason="EMAIL_TAKEN"
        )
    user_id = tx.new_id()
    sql.insert_account(tx, user_id, registration, password_hash)
    tx.record(UserRegistered(user_id=user_id, username=registration.username, display_name=registration.display_name))
    return user_id
