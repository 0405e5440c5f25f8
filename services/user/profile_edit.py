"""What a user may change of its profile, named by a field mask (AIP-134)."""

from collections.abc import Callable, Mapping

from astra.user.v1 import user_service_pb2 as pb

from services.runtime.errors import InvalidArgument
from services.runtime.transaction import Tx
from services.user import store as sql
from services.user.model import check_bio, check_display_name
from services.user.reactions import record_profile

Edit = Mapping[str, str]
"""New values by field of `User`, checked."""

_CHECKS: Mapping[str, Callable[[str], str]] = {"display_name": check_display_name, "bio": check_bio}
_SETTERS: Mapping[str, Callable[[Tx, str, str], bool]] = {"display_name": sql.set_display_name, "bio": sql.set_bio}


def edit_from(request: pb.UpdateProfileRequest) -> Edit:
    """Returns what is to be changed. Raises `InvalidArgument` for a field that cannot be, or a value it cannot have."""
    paths = list(request.update_mask.paths) or [name for name in _CHECKS if getattr(request.user, name)]
    if not paths:
        raise InvalidArgument(f"name what to change: {', '.join(_CHECKS)}", field="update_mask")
    if "*" in paths:
        paths = list(_CHECKS)
    for path in paths:
        if path not in _CHECKS:
            raise InvalidArgument(
                f"update_mask names {path[:50]!r}; what can be changed is {', '.join(_CHECKS)}", field="update_mask"
            )
    return {path: _CHECKS[path](getattr(request.user, path)) for path in paths}


def apply_edit(tx: Tx, user_id: str, edit: Edit) -> None:
    """Changes a profile and, if anything is other than before, records it. Raises `NotFound`."""
    sql.state_of(tx, user_id)
    changed = [name for name, value in edit.items() if _SETTERS[name](tx, user_id, value)]
    if changed:
        record_profile(tx, user_id, *changed)
