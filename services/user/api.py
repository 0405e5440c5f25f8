"""UserService: proto in, model call, proto out. What concerns one's own account; the rest is in what it inherits."""

from typing import TypeVar

from astra.user.v1 import user_service_pb2 as pb

from services.runtime.call import Call
from services.runtime.errors import PermissionDenied, Unauthenticated
from services.runtime.store import Store
from services.runtime.transaction import Tx
from services.user import access, sessions
from services.user import store as sql
from services.user.administration import Administration
from services.user.inbox_api import InboxApi
from services.user.model import AccountChange, UserState, check_new_password, check_registration
from services.user.passwords import Passwords
from services.user.profile_edit import apply_edit, edit_from
from services.user.registration import register
from services.user.sessions import Session
from services.user.sign_in import SignIn
from services.user.sign_in_guard import SignInGuard
from services.user.store import Account
from services.user.tokens import TokenIssuer

SignedIn = TypeVar("SignedIn", pb.LoginResponse, pb.RefreshSessionResponse)


class UserApi(Administration, InboxApi):
    """Serves the rpcs of users."""

    def __init__(self, store: Store, passwords: Passwords, tokens: TokenIssuer, guard: SignInGuard) -> None:
        self._store = store
        self._passwords = passwords
        self._sign_in = SignIn(store, passwords)
        self._tokens = tokens
        self._guard = guard

    async def register_user(self, request: pb.RegisterUserRequest, call: Call) -> pb.RegisterUserResponse:
        registration = check_registration(
            username=request.username,
            email=request.email,
            password=request.password,
            display_name=request.display_name,
        )
        # A repeat is known by its request, not by its hash: that one is salted and comes to nothing.
        password_hash = await self._passwords.hash(request.password)

        def work(tx: Tx) -> pb.RegisterUserResponse:
            user_id = register(tx, registration, password_hash)
            return pb.RegisterUserResponse(user=sql.load_user(tx, user_id))

        return await call.write(self._store, work)

    async def login(self, request: pb.LoginRequest, call: Call) -> pb.LoginResponse:
        await self._guard.admit(request.username)
        account = await self._sign_in.account_of(request.username, request.password)

        def work(tx: Tx) -> tuple[Account, Session, int]:
            now = sql.load_account(tx, account.user_id)
            if now.state is UserState.SUSPENDED or now.not_before_ms != account.not_before_ms:
                raise Unauthenticated("the account was changed meanwhile; sign in again", reason="WRONG_CREDENTIALS")
            return now, sessions.open_session(tx, now.user_id), tx.now_ms

        return await self._signed_in(pb.LoginResponse(), *await self._store.write(work))

    async def refresh_session(self, request: pb.RefreshSessionRequest, call: Call) -> pb.RefreshSessionResponse:
        def work(tx: Tx) -> tuple[Account, Session, int] | None:
            session = sessions.rotate(tx, request.refresh_token)
            return None if session is None else (sql.load_account(tx, session.user_id), session, tx.now_ms)

        went_on = await self._store.write(work)
        if went_on is None:  # only now: the end of the session had to be committed
            raise Unauthenticated("this refresh token was used before; sign in again", reason="SESSION_ENDED")
        return await self._signed_in(pb.RefreshSessionResponse(), *went_on)

    async def logout(self, request: pb.LogoutRequest, call: Call) -> pb.LogoutResponse:
        await self._store.write(lambda tx: sessions.end_session(tx, request.refresh_token))
        return pb.LogoutResponse()

    async def change_password(self, request: pb.ChangePasswordRequest, call: Call) -> pb.ChangePasswordResponse:
        account = await self._store.read(lambda db: sql.load_account(db, request.user_id))
        check_new_password(request.new_password, current=request.current_password, names=account.names)
        verified = await self._passwords.verify(account.password_hash, request.current_password)
        new_hash = await self._passwords.hash(request.new_password) if verified else ""

        def work(tx: Tx) -> pb.ChangePasswordResponse:
            now = sql.load_account(tx, account.user_id)
            if not verified or now.not_before_ms != account.not_before_ms:
                raise PermissionDenied("current_password is wrong", reason="WRONG_PASSWORD")
            sql.replace_hash(tx, now.user_id, old=now.password_hash, new=new_hash)
            moment_ms = access.end_access(tx, now.user_id, now.state, AccountChange.PASSWORD_CHANGED)
            response = pb.ChangePasswordResponse()
            response.not_before.FromMilliseconds(moment_ms)
            return response

        return await call.write(self._store, work)

    async def get_user(self, request: pb.GetUserRequest, call: Call) -> pb.GetUserResponse:
        user = await self._store.read(lambda db: sql.load_user(db, request.user_id))
        if call.caller.service:
            user.ClearField("email")
        return pb.GetUserResponse(user=user)

    async def update_profile(self, request: pb.UpdateProfileRequest, call: Call) -> pb.UpdateProfileResponse:
        edit = edit_from(request)

        def work(tx: Tx) -> pb.UpdateProfileResponse:
            apply_edit(tx, request.user_id, edit)
            return pb.UpdateProfileResponse(user=sql.load_user(tx, request.user_id))

        return await call.write(self._store, work)

    async def _signed_in(self, response: SignedIn, account: Account, session: Session, now_ms: int) -> SignedIn:
        """Fills in the tokens. What they state of the time was decided in the transaction that made the session."""
        token = await self._tokens.issue(
            account.user_id,
            account.roles,
            issue_ms=max(now_ms, account.not_before_ms),
            session_expire_ms=session.expire_ms,
        )
        response.access_token, response.user_id = token.jwt, account.user_id
        response.refresh_token = session.refresh_token
        response.expire_time.FromMilliseconds(token.expire_ms)
        response.session_expire_time.FromMilliseconds(session.expire_ms)
        return response
