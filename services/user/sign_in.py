"""Signing in: whoever fails learns nothing of whether the user exists."""

import structlog

from services.runtime.errors import MeshError, PermissionDenied, Unauthenticated
from services.runtime.store import Store
from services.user import store as sql
from services.user.model import UserState
from services.user.passwords import Passwords
from services.user.store import Account

log = structlog.get_logger()


class SignIn:
    """Finds the account that a username and its password open."""

    def __init__(self, store: Store, passwords: Passwords) -> None:
        self._store = store
        self._passwords = passwords

    async def account_of(self, username: str, password: str) -> Account:
        """Returns the account.

        Raises `Unauthenticated` when username or password are wrong, with one message for both and after one
        verification in either case; `PermissionDenied` to who knows the password of a suspended user.
        """
        account = self._find(username)
        while True:
            verified = await self._passwords.verify(account.password_hash if account else None, password)
            if account is None or not verified:
                raise Unauthenticated("username or password are wrong", reason="WRONG_CREDENTIALS")
            # Verifying takes a while: what counts is the account as it is afterwards.
            now = self._find(username)
            if now is not None and now.password_hash == account.password_hash:
                break
            account = now
        if now.state is UserState.SUSPENDED:
            raise PermissionDenied("this user is suspended; ask an admin to reactivate it", reason="USER_SUSPENDED")
        await self._renew_hash(now, password)
        return now

    def _find(self, username: str) -> Account | None:
        return self._store.read_now(lambda db: sql.find_account(db, username))

    async def _renew_hash(self, account: Account, password: str) -> None:
        """Hashes the password anew if its hash was made with other parameters than new ones are."""
        old = account.password_hash
        if not self._passwords.is_outdated(old):
            return
        try:
            new = await self._passwords.hash(password)
            await self._store.write(lambda tx: sql.replace_hash(tx, account.user_id, old=old, new=new))
        except MeshError as error:
            # The password was right; the next time it is used will do for the hash.
            log.warning("user.hash_not_renewed", user_id=account.user_id, reason=error.reason)
