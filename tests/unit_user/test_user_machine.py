"""Random lives of users, by rpc: tiers only rise, an ended session stays ended, ended access stays ended."""

import asyncio
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import jwt
from astra.user.v1 import user_service_pb2 as pb
from astra.user.v1.events_pb2 import AccountStatusChanged
from astra.user.v1.user_pb2 import VerificationTier
from astra.user.v1.user_service_pb2_grpc import UserServiceStub
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from services import user
from services.mesh import Mesh
from services.runtime.context import Caller
from services.runtime.revocations import Revocations
from services.user.model import VerificationTier as Tier
from services.user.passwords import Passwords
from services.user.sessions import SESSION_MS
from tests.serving import as_user, reason_of, serving
from tests.unit_user.users import CHEAP, HandClock, envelopes, registering, signing_in

ADMIN = as_user("root", "admin")
NAMES = ("ann", "bob")
PASSWORDS = ("correct-horse-9", "another-horse-8")


class Session:
    """What the test believes of one session."""

    def __init__(self, name: str, refresh_token: str, expire_ms: int) -> None:
        self.name, self.tokens, self.expire_ms, self.ended = name, [refresh_token], expire_ms, False


class UserMachine(RuleBasedStateMachine):
    """Two users, an admin, a clock; after every step the database must say what the test believes."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.closing = AsyncExitStack()
        self.clock, self.passwords = HandClock(), Passwords(CHEAP, threads=1)
        folder = self.closing.enter_context(tempfile.TemporaryDirectory())
        self.ids: dict[str, str] = {}
        self.password = dict.fromkeys(NAMES, 0)
        self.tier, self.suspended = dict.fromkeys(NAMES, Tier.UNVERIFIED), dict.fromkeys(NAMES, False)
        self.sessions: list[Session] = []
        self.good: list[str] = []
        self.refused: list[str] = []
        self.runner.run(self._open(Path(folder)))

    async def _open(self, folder: Path) -> None:
        mesh = Mesh.at(folder, free_ports=True)
        self.domain = user.build(mesh, clock=self.clock, passwords=self.passwords)
        self.stub: Any = UserServiceStub(await self.closing.enter_async_context(serving(self.domain)))
        for name in NAMES:
            self.ids[name] = (await self.stub.RegisterUser(registering(name, password=PASSWORDS[0]))).user.user_id

    def teardown(self) -> None:
        self.runner.run(self.closing.aclose())
        self.passwords.close()
        self.runner.close()

    def call(self, rpc: str, request: Any, metadata: Any = ()) -> Any:
        """Calls; returns the reply, or the reason of a refusal."""

        async def run() -> Any:
            try:
                return await getattr(self.stub, rpc)(request, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                return reason_of(error)

        return self.runner.run(run())

    def access_ends(self, name: str) -> None:
        mine = [token for token in self.good if jwt_claims(token)["sub"] == self.ids[name]]
        self.good = [token for token in self.good if token not in mine]
        self.refused += mine
        for session in self.sessions:
            session.ended |= session.name == name

    @rule(name=st.sampled_from(NAMES), password=st.sampled_from((0, 1)))
    def login(self, name: str, password: int) -> None:
        reply = self.call("Login", signing_in(name, PASSWORDS[password]))
        if password != self.password[name]:
            assert reply == "WRONG_CREDENTIALS"
        elif self.suspended[name]:
            assert reply == "USER_SUSPENDED"
        else:
            self.sessions.append(Session(name, reply.refresh_token, reply.session_expire_time.ToMilliseconds()))
            self.good.append(reply.access_token)

    @precondition(lambda self: self.sessions)
    @rule(data=st.data(), newest=st.booleans())
    def refresh(self, data: st.DataObject, newest: bool) -> None:
        session = data.draw(st.sampled_from(self.sessions))
        token = session.tokens[-1] if newest else data.draw(st.sampled_from(session.tokens))
        reply = self.call("RefreshSession", pb.RefreshSessionRequest(refresh_token=token))
        if session.ended or self.clock.ms >= session.expire_ms:
            assert reply == "SESSION_ENDED"
        elif token != session.tokens[-1]:
            assert reply == "SESSION_ENDED"
            session.ended = True
        else:
            session.tokens.append(reply.refresh_token)
            self.good.append(reply.access_token)

    @precondition(lambda self: self.sessions)
    @rule(data=st.data())
    def logout(self, data: st.DataObject) -> None:
        session = data.draw(st.sampled_from(self.sessions))
        reply = self.call("Logout", pb.LogoutRequest(refresh_token=session.tokens[0]))
        # Sessions past their time may be gone from the database.
        assert reply == pb.LogoutResponse() or self.clock.ms >= session.expire_ms
        session.ended = True

    @rule(name=st.sampled_from(NAMES), current=st.sampled_from((0, 1)))
    def change_password(self, name: str, current: int) -> None:
        request = pb.ChangePasswordRequest(current_password=PASSWORDS[current], new_password=PASSWORDS[1 - current])
        reply = self.call("ChangePassword", request, as_user(self.ids[name]))
        if current != self.password[name]:
            assert reply == "WRONG_PASSWORD"
        else:
            assert isinstance(reply, pb.ChangePasswordResponse)
            self.password[name] = 1 - current
            self.access_ends(name)

    @rule(name=st.sampled_from(NAMES))
    def suspend(self, name: str) -> None:
        reply = self.call("SuspendUser", pb.SuspendUserRequest(user_id=self.ids[name]), ADMIN)
        if self.suspended[name]:
            assert reply == "USER_SUSPENDED"
        else:
            self.suspended[name] = True
            self.access_ends(name)

    @rule(name=st.sampled_from(NAMES))
    def reactivate(self, name: str) -> None:
        reply = self.call("ReactivateUser", pb.ReactivateUserRequest(user_id=self.ids[name]), ADMIN)
        assert self.suspended[name] or reply == "USER_NOT_SUSPENDED"
        self.suspended[name] = False

    @rule(name=st.sampled_from(NAMES), tier=st.sampled_from(list(Tier)))
    def verify(self, name: str, tier: Tier) -> None:
        request = pb.VerifyUserRequest(user_id=self.ids[name], tier=VerificationTier.Name(tier))
        reply = self.call("VerifyUser", request, ADMIN)
        assert tier > self.tier[name] or reply == "TIER_NOT_HIGHER"
        self.tier[name] = max(tier, self.tier[name])

    @rule(ms=st.sampled_from((1, 999, 1000, 60_000, SESSION_MS)))
    def time_passes(self, ms: int) -> None:
        self.clock.ms += ms

    @invariant()
    def everything_is_as_believed(self) -> None:
        rules = Revocations()
        for envelope in envelopes(self.domain.store):
            if envelope.type == "astra.user.v1.AccountStatusChanged":
                change = AccountStatusChanged.FromString(envelope.data)
                rules.note(change.user_id, change.not_before.ToMilliseconds())
        for expected, tokens in ((False, self.good), (True, self.refused)):
            for token in tokens:
                stated = jwt_claims(token)
                caller = Caller(user_id=stated["sub"], token_ms=stated["iat"] * 1000)
                assert rules.refuses(caller) is expected
        for name, user_id in self.ids.items():
            shown = self.call("GetUser", pb.GetUserRequest(user_id=user_id), ADMIN).user
            assert shown.verification_tier == self.tier[name]
        open_now = self.domain.store.read_now(
            lambda db: db.value("SELECT count(*) FROM session WHERE end_ms IS NULL AND expire_ms > ?", self.clock.ms)
        )
        assert open_now == sum(not s.ended and s.expire_ms > self.clock.ms for s in self.sessions)


def jwt_claims(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


TestUserMachine = UserMachine.TestCase
TestUserMachine.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
