"""One call being served: who makes it, by which rpc, and for which chain."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf.message import Message

from services.contracts import Rpc
from services.runtime.context import Caller, Context
from services.runtime.errors import PermissionDenied, Unauthenticated
from services.runtime.store import Store
from services.runtime.transaction import Tx

Reply = TypeVar("Reply", bound=Message)


@dataclass(frozen=True, slots=True)
class Call:
    """What a handler is told beside its request."""

    rpc: Rpc
    request: Message
    caller: Caller
    context: Context

    async def write(self, store: Store, work: Callable[[Tx], Reply]) -> Reply:
        """Runs the rpc's write, once per request id of this caller."""
        return await store.command(
            self.request, rpc=self.rpc.path, subject=self.caller.subject, reply=self._reply(), work=work
        )

    def _reply(self) -> Any:
        return self.rpc.response


def caller_from(metadata: Mapping[str, str]) -> Caller:
    """Reads the identity that Envoy put into the headers; it strips what callers put there themselves."""
    return Caller(
        user_id=metadata.get("x-astra-user", ""),
        roles=frozenset(metadata.get("x-astra-roles", "").split()),
        service=metadata.get("x-astra-service", ""),
        token_ms=_seconds(metadata.get("x-astra-token-time", "")) * 1000,
    )


def _seconds(text: str) -> int:
    """Returns when a token was issued; 0 for what is no time."""
    return int(text) if text.isdecimal() else 0


def authorize(rpc: Rpc, caller: Caller, request: Message) -> None:
    """Lets the caller in as the rpc's access rule says; an empty acting user becomes the caller.

    Raises `Unauthenticated` without an identity, `PermissionDenied` with the wrong one.
    """
    if rpc.acting_user and caller.user_id and not getattr(request, rpc.acting_user):
        setattr(request, rpc.acting_user, caller.user_id)
    if "OPEN" in rpc.allow:
        return
    if caller.service and "SERVICE" in rpc.allow:
        return
    if caller.user_id:
        if "PUBLIC" in rpc.allow or (caller.is_admin and rpc.allow & {"ADMIN", "SELF"}):
            return
        if "SELF" in rpc.allow and getattr(request, rpc.acting_user) == caller.user_id:
            return
    if not (caller.user_id or caller.service):
        raise Unauthenticated(
            f"{rpc.name} needs a token: sign in and send `authorization: Bearer …`", reason="UNAUTHENTICATED"
        )
    if "SELF" in rpc.allow and caller.user_id:
        raise PermissionDenied(
            f"{rpc.name}: {rpc.acting_user} must be yourself", reason="NOT_YOURSELF", field=rpc.acting_user
        )
    needed = " or ".join(sorted(level.lower() for level in rpc.allow))
    raise PermissionDenied(f"{rpc.name} needs a token of: {needed}", reason="ROLE_REQUIRED", needed=needed)
