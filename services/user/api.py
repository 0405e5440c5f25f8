"""UserService: proto in, model call, proto out."""

from astra.user.v1 import user_service_pb2 as pb

from services.runtime.call import Call
from services.runtime.store import Store
from services.runtime.transaction import Tx
from services.user import store as sql
from services.user.model import check_registration
from services.user.passwords import Passwords
from services.user.registration import register
from services.user.sign_in import SignIn
from services.user.sign_in_guard import SignInGuard
from services.user.tokens import TokenIssuer


class UserApi:
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
        token = await self._tokens.issue(account.user_id, account.roles)
        response = pb.LoginResponse(access_token=token.jwt, user_id=account.user_id)
        response.expire_time.FromMilliseconds(token.expire_ms)
        return response

    async def get_user(self, request: pb.GetUserRequest, call: Call) -> pb.GetUserResponse:
        user = await self._store.read(lambda db: sql.load_user(db, request.user_id))
        return pb.GetUserResponse(user=user)
