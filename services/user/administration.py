"""What admins do to other users' accounts; each leaves a row in `admin_audit`."""

from astra.user.v1 import user_service_pb2 as pb

from services.runtime.call import Call
from services.runtime.errors import FailedPrecondition, InvalidArgument
from services.runtime.store import Store
from services.runtime.transaction import Tx
from services.user import access
from services.user import store as sql
from services.user.model import VerificationTier
from services.user.reactions import record_profile

REASON_MAX = 500
"""Characters."""


class Administration:
    """Serves VerifyUser, SuspendUser and ReactivateUser."""

    _store: Store

    async def verify_user(self, request: pb.VerifyUserRequest, call: Call) -> pb.VerifyUserResponse:
        tier = _tier(request.tier)

        def work(tx: Tx) -> pb.VerifyUserResponse:
            access.raise_tier(tx, request.user_id, tier)
            record_profile(tx, request.user_id, "verification_tier")
            _audit(tx, call, "verify_user", f"user_id={request.user_id} tier={tier.name}")
            return pb.VerifyUserResponse(user=sql.load_user(tx, request.user_id))

        return await call.write(self._store, work)

    async def suspend_user(self, request: pb.SuspendUserRequest, call: Call) -> pb.SuspendUserResponse:
        if len(request.reason) > REASON_MAX:
            raise InvalidArgument(f"reason must have at most {REASON_MAX} characters", field="reason")
        if request.user_id == call.caller.user_id:
            raise FailedPrecondition("another admin has to suspend you", reason="CANNOT_SUSPEND_YOURSELF")

        def work(tx: Tx) -> pb.SuspendUserResponse:
            access.suspend(tx, request.user_id)
            _audit(tx, call, "suspend_user", f"user_id={request.user_id} reason={request.reason!r}")
            return pb.SuspendUserResponse(user=sql.load_user(tx, request.user_id))

        return await call.write(self._store, work)

    async def reactivate_user(self, request: pb.ReactivateUserRequest, call: Call) -> pb.ReactivateUserResponse:
        def work(tx: Tx) -> pb.ReactivateUserResponse:
            access.reactivate(tx, request.user_id)
            _audit(tx, call, "reactivate_user", f"user_id={request.user_id}")
            return pb.ReactivateUserResponse(user=sql.load_user(tx, request.user_id))

        return await call.write(self._store, work)


def _audit(tx: Tx, call: Call, action: str, detail: str) -> None:
    sql.add_audit(tx, f"user:{call.caller.subject}", action, detail)


def _tier(number: int) -> VerificationTier:
    try:
        return VerificationTier(number)
    except ValueError:
        raise InvalidArgument(f"there is no tier {number}", field="tier") from None
