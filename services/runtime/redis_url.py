"""What REDIS_URL says: one server, a cluster, or a server that Sentinels watch; and who signs in.

    redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]
    redis+cluster://[USER:PASSWORD@]HOST:PORT,HOST:PORT,…
    redis+sentinel://[USER:PASSWORD@]HOST:PORT,…/NAME[?sentinel_password=…]

`rediss` in place of `redis` talks TLS. `?acl=roles` has each process sign in as its role, with the passwords in the
mesh's `keys` folder, as on the mesh's own Redis: for servers that have the ACL file of `python -m services redis-acl`.
"""

import re
from dataclasses import dataclass
from enum import Enum
from typing import NoReturn
from urllib.parse import parse_qsl, unquote, urlencode

REDIS_PORT = 6379
SENTINEL_PORT = 26379

_GRAMMAR = re.compile(
    r"(?P<tls>rediss?)(?:\+(?P<kind>cluster|sentinel))?://(?:(?P<user>[^:@/]*)(?::(?P<password>[^@/]*))?@)?"
    r"(?P<hosts>[^@/?]+)(?:/(?P<path>[^/?]*))?(?:\?(?P<query>.*))?"
)
_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::(?P<port>[0-9]{1,5}))?")


class Kind(Enum):
    """How the servers behind a URL belong together."""

    ONE = "redis"
    CLUSTER = "cluster"
    SENTINEL = "sentinel"


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisUrl:
    """A parsed REDIS_URL."""

    kind: Kind
    tls: bool
    hosts: tuple[tuple[str, int], ...]
    """Servers to ask first; of a cluster any nodes, else the Sentinels or the one server."""
    user: str | None
    password: str | None
    path: str
    """What follows the hosts: the number of a database, or the name that Sentinels know the server by."""
    options: tuple[tuple[str, str], ...]
    """The query, without `acl` and `sentinel_password`: options of redis-py."""
    roles: bool
    """Whether each process signs in as its role."""
    sentinel_password: str | None

    @property
    def scheme(self) -> str:
        return "rediss" if self.tls else "redis"

    @property
    def shown(self) -> str:
        """The servers, without what is secret."""
        return ",".join(f"{host}:{port}" for host, port in self.hosts)

    def at(self, host: str, port: int) -> str:
        """Returns the URL of one server, without who signs in."""
        path = self.path if self.kind is Kind.ONE else "0"
        return f"{self.scheme}://{host}:{port}/{path}" + (f"?{urlencode(self.options)}" if self.options else "")


def parse(text: str) -> RedisUrl:
    """Reads a URL. Ends the process with what is wrong with it, and never with a password that stands in it."""
    if not (found := _GRAMMAR.fullmatch(text)):
        _refuse("it is none of redis://, redis+cluster:// and redis+sentinel://, followed by HOST:PORT")
    kind = Kind(found["kind"] or "redis")
    default_port = SENTINEL_PORT if kind is Kind.SENTINEL else REDIS_PORT
    hosts = tuple(_host(one, default_port) for one in found["hosts"].split(","))
    path = unquote(found["path"] or "")
    if kind is Kind.ONE and len(hosts) > 1:
        _refuse("it names several servers; say redis+cluster:// or redis+sentinel://")
    if kind is Kind.SENTINEL and not path:
        _refuse("it names no service; say redis+sentinel://HOST:PORT/NAME")
    if kind is Kind.CLUSTER and path not in ("", "0"):
        _refuse("a cluster has no other database than 0")
    query = dict(parse_qsl(found["query"] or ""))
    acl, sentinel_password = query.pop("acl", None), query.pop("sentinel_password", None)
    if kind is not Kind.ONE and query:
        _refuse(f"there is no option {', '.join(sorted(query))}")
    if acl not in (None, "roles"):
        _refuse("`acl` may only be `roles`")
    if acl and found["password"] is not None:
        _refuse("with `acl=roles` nobody else signs in; leave the user and the password out")
    return RedisUrl(
        kind=kind,
        tls=found["tls"] == "rediss",
        hosts=hosts,
        user=unquote(found["user"]) if found["user"] else None,
        password=None if found["password"] is None else unquote(found["password"]),
        path=path,
        options=tuple(query.items()),
        roles=acl == "roles",
        sentinel_password=sentinel_password,
    )


def _host(text: str, default_port: int) -> tuple[str, int]:
    if not (found := _HOST.fullmatch(text)) or not 0 < int(found["port"] or default_port) < 65536:
        _refuse(f"{text[:60]!r} is no HOST:PORT")
    return found["host"], int(found["port"] or default_port)


def _refuse(why: str) -> NoReturn:
    raise SystemExit(f"REDIS_URL: {why}")
