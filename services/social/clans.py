"""The rules of clans: their names, who may join, and what which role may do."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from services.runtime.errors import FailedPrecondition, InvalidArgument, PermissionDenied

OPENING_RATING = 1000
MAX_MEMBERS = 200
MAX_DESCRIPTION_CHARACTERS = 300
_NAME = re.compile(r"[^\W_][\w '\-]{1,28}[^\W_]")


class Role(IntEnum):
    """As `astra.social.v1.ClanRole`; the lower the number, the higher the role."""

    OWNER = 1
    ADMIN = 2
    MEMBER = 3
    RECRUIT = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One user's place in a clan."""

    user_id: str
    clan_id: str
    role: Role
    join_ms: int


def check_clan(name: str, description: str) -> None:
    """Raises `InvalidArgument` for a name or a description that does not fit."""
    if not _NAME.fullmatch(name) or "  " in name:
        raise InvalidArgument(
            "name must be 3–30 letters, digits, single spaces and ' _ -, with a letter or digit at both ends",
            field="name",
        )
    if len(description) > MAX_DESCRIPTION_CHARACTERS:
        raise InvalidArgument(f"description has more than {MAX_DESCRIPTION_CHARACTERS} characters", field="description")


def name_key(name: str) -> str:
    """Returns what makes two names the same: their letters whatever the case and the way they are encoded."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def check_room(member_count: int) -> None:
    """Raises `FailedPrecondition` `CLAN_FULL` for a clan that nobody more may join."""
    if member_count >= MAX_MEMBERS:
        raise FailedPrecondition(
            f"the clan has {MAX_MEMBERS} members; join another one", reason="CLAN_FULL", limit=str(MAX_MEMBERS)
        )


def check_leads(member: Member) -> None:
    """Raises `PermissionDenied` for a member who may not speak for the clan: only owner and admins may."""
    if member.role > Role.ADMIN:
        raise _role_required("owner or admin")


def check_role_change(actor: Member, target: Member, role: Role) -> None:
    """Raises where an actor may not give a role: an owner may give any, an admin moves members and recruits."""
    _check_not_oneself(actor, target)
    if actor.role is Role.OWNER:
        return
    if actor.role is not Role.ADMIN or min(target.role, role) < Role.MEMBER:
        raise _role_required("owner" if min(target.role, role) < Role.MEMBER else "owner or admin")


def check_removal(actor: Member, target: Member) -> None:
    """Raises where an actor may not remove a member: an owner may remove anyone, an admin members and recruits."""
    _check_not_oneself(actor, target)
    check_leads(actor)
    if actor.role is Role.ADMIN and target.role < Role.MEMBER:
        raise _role_required("owner")


def successor(members: Sequence[Member]) -> Member | None:
    """Returns who owns a clan after its owner has left: of the highest role left, the longest-standing."""
    return min(members, key=lambda member: (member.role, member.join_ms, member.user_id), default=None)


def _check_not_oneself(actor: Member, target: Member) -> None:
    if actor.user_id == target.user_id:
        raise InvalidArgument("member_user_id must be another member than the one who acts", field="member_user_id")


def _role_required(needed: str) -> PermissionDenied:
    return PermissionDenied(f"this takes the role {needed} of the clan", reason="CLAN_ROLE_REQUIRED", needed=needed)
