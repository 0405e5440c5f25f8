"""What each step changes in the sources: `XpGained` becomes v2, where `xp` is `amount` and says what it is left of."""

from collections.abc import Callable, Mapping
from pathlib import Path

V2 = """syntax = "proto3";

// Events of gamification, in their second version.
package astra.gamification.v2;

import "astra/event/v1/envelope.proto";

// A user earned XP.
message XpGained {
  option (astra.event.v1.event) = {
    subject: "user_id"
    user: "user_id"
  };
  // Who.
  string user_id = 1;
  // How much, > 0.
  int64 amount = 2;
  // The level after it.
  int32 level_after = 3;
}
"""

PROTO = "protos/astra/gamification/v2/events.proto"
V1_PROTO = "protos/astra/gamification/v1/events.proto"
RECORDING = "services/gamification/progress.py"
REACTING = "services/gamification/reactions.py"

_RECORDED = (
    "gained = tx.record(XpGained(user_id=user_id, xp=xp, total_xp=total_xp, source=source, level=level), cause=cause)"
)
_BOTH = """older = XpGained(user_id=user_id, xp=xp, total_xp=total_xp, source=source, level=level)
    gained = tx.record(v2.XpGained(user_id=user_id, amount=xp, level_after=level), cause=cause, older=older)"""
_NEW_ALONE = "gained = tx.record(v2.XpGained(user_id=user_id, amount=xp, level_after=level), cause=cause)"
_IMPORT = "from astra.gamification.v2 import events_pb2 as v2\n"
_REACTION = '''def score_xp_v2(tx: Tx, event: v2.XpGained) -> None:
    """Adds XP to a user's scores, from the event's second version."""
    delivery = tx.context.delivery
    assert delivery is not None
    add_to_boards(tx, event.user_id, xp=event.amount, at_ms=delivery.ms, ordinal=delivery.ordinal)
    show_level(tx, event.user_id, event.level_after)


GROUPS = ('''


def _changed(path: Path, *changes: tuple[str, str]) -> None:
    text = path.read_text()
    for old, new in changes:
        if old not in text:
            raise LookupError(f"{path} does not hold {old!r} any more: the example must follow")
        text = text.replace(old, new, 1)
    path.write_text(text)


def write_both(root: Path) -> None:
    """Step 1: the new version is defined, and each event is recorded in both."""
    (root / PROTO).parent.mkdir(parents=True)
    (root / PROTO).write_text(V2)
    _changed(root / RECORDING, ("from astra.", f"{_IMPORT}from astra."), (_RECORDED, _BOTH))


def read_both(root: Path) -> None:
    """Step 2: the group reads both versions."""
    reads = ("reactions={XpGained: score_xp,", "reactions={XpGained: score_xp, v2.XpGained: score_xp_v2,")
    _changed(root / REACTING, ("from astra.", f"{_IMPORT}from astra."), ("GROUPS = (", _REACTION), reads)


def write_the_new_alone(root: Path) -> None:
    """Step 3: the old version is recorded no more."""
    _changed(root / RECORDING, (_BOTH, _NEW_ALONE))


def retire_the_old(root: Path) -> None:
    """Step 4: nobody reads the old version, and its stream leaves the catalogue."""
    _changed(
        root / REACTING,
        ("reactions={XpGained: score_xp, v2.XpGained: score_xp_v2,", "reactions={v2.XpGained: score_xp_v2,"),
    )
    message = 'message XpGained {\n  option (astra.event.v1.event) = {\n    subject: "user_id"\n    user: "user_id"\n'
    _changed(root / V1_PROTO, (message, f"{message}    retired: true\n"))


STEPS: Mapping[str, Callable[[Path], None]] = {
    "write both": write_both,
    "read both": read_both,
    "write the new alone": write_the_new_alone,
    "retire the old": retire_the_old,
}
