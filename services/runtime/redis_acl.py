"""Who may do what in Redis: the roles and their ACL rules, in the syntax of Redis 7.0.

A stream and its dead letters share a slot: `astra.x.y.v1` and `{astra.x.y.v1}.dlq.some_group`.
"""

import hashlib
from collections.abc import Mapping

STREAMS = "astra.*"
DEAD_LETTERS = "{astra.*}.dlq.*"
LIMITS = "limits:*"
REGISTRY = "{registry}:*"

_CONNECT = "+@connection +@transaction -@admin -@dangerous +info +time +command +cluster|slots"
_SCRIPTS = "+eval +evalsha +script|load +script|exists"

ROLES: Mapping[str, str] = {
    # Appends, trims, repairs tails and recreates groups; checks on connect that nothing is ever evicted.
    "bridge": f"~{STREAMS} ~{DEAD_LETTERS} +@read +@write +@stream {_CONNECT} {_SCRIPTS} +config|get",
    # Reads in groups. A script may name both a stream and its dead letters, and each call in it is checked again:
    # the selector alone grants XADD, and to dead letters alone.
    "consumer": (
        f"~{STREAMS} ~{DEAD_LETTERS} +xreadgroup +xread +xrange +xrevrange +xlen +xpending +xinfo +xack +xclaim"
        f" +xautoclaim +xgroup|create +xgroup|createconsumer +xgroup|delconsumer +exists {_CONNECT} {_SCRIPTS}"
        f" +config|get (+xadd ~{DEAD_LETTERS})"
    ),
    # Counts calls for the limits that hold over several Envoys.
    "limiter": f"~{LIMITS} +@read +@write {_CONNECT} {_SCRIPTS}",
    # Registers instances, and finds them.
    "registry": f"~{REGISTRY} +@read +@write {_CONNECT}",
    # Looks on.
    "reader": f"%R~{STREAMS} %R~{DEAD_LETTERS} +@read {_CONNECT}",
}
"""ACL rules by role. All start from nothing; the default user is off."""


def acl_file(passwords: Mapping[str, str]) -> str:
    """Returns the ACL file for these passwords by role; it holds their SHA-256 alone."""
    lines = ["user default off"]
    for role, rules in ROLES.items():
        digest = hashlib.sha256(passwords[role].encode()).hexdigest()
        lines.append(f"user {role} on #{digest} -@all {rules}")
    return "\n".join(lines) + "\n"
