"""What REDIS_URL may say, and that what is wrong with it is told without its password."""

from pathlib import Path

import pytest

from services.mesh import Mesh
from services.runtime.redis_client import connection_options, is_own
from services.runtime.redis_url import Kind, parse


@pytest.mark.parametrize(
    ("text", "kind", "hosts"),
    [
        ("redis://h", Kind.ONE, (("h", 6379),)),
        ("redis://h:1/3", Kind.ONE, (("h", 1),)),
        ("rediss://:secret@h/0?ssl_ca_certs=/x", Kind.ONE, (("h", 6379),)),
        ("redis://[::1]:7/0", Kind.ONE, (("[::1]", 7),)),
        ("redis+cluster://a:1,b:2,c", Kind.CLUSTER, (("a", 1), ("b", 2), ("c", 6379))),
        ("redis+cluster://a:1?acl=roles", Kind.CLUSTER, (("a", 1),)),
        ("redis+sentinel://a,b:2/name", Kind.SENTINEL, (("a", 26379), ("b", 2))),
    ],
)
def test_url_names_servers(text: str, kind: Kind, hosts: tuple[tuple[str, int], ...]) -> None:
    url = parse(text)
    assert (url.kind, url.hosts) == (kind, hosts)


def test_url_names_who_signs_in_and_percent_signs_are_taken_out() -> None:
    url = parse("redis+sentinel://us%40er:pa%2Fss@h:1/name?sentinel_password=s%3Fs")
    assert (url.user, url.password, url.sentinel_password, url.path) == ("us@er", "pa/ss", "s?s", "name")
    assert "pa" not in url.shown + url.at(*url.hosts[0])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "none of redis://"),
        ("http://h", "none of redis://"),
        ("redis+proxy://h:1", "none of redis://"),
        ("redis://", "none of redis://"),
        ("redis://:secret@a:1,b:2", "several servers"),
        ("redis://a:notaport", "no HOST:PORT"),
        ("redis://a:99999", "no HOST:PORT"),
        ("redis+cluster://:secret@a:1,,b:2", "no HOST:PORT"),
        ("redis+cluster://a:1/3", "no other database than 0"),
        ("redis+sentinel://:secret@a:1", "names no service"),
        ("redis+cluster://a:1?acl=all", "may only be `roles`"),
        ("redis+cluster://u:secret@a:1?acl=roles", "nobody else signs in"),
        ("redis+cluster://:secret@a:1?ssl_ca=x", "no option ssl_ca"),
    ],
)
def test_url_that_cannot_be_meant_is_refused(text: str, words: str) -> None:
    with pytest.raises(SystemExit, match="REDIS_URL") as refusal:
        parse(text)
    assert words in str(refusal.value)
    assert "secret" not in str(refusal.value)


def test_options_of_a_server_are_passed_on() -> None:
    assert parse("redis://h:1/2?health_check_interval=3").at("h", 1) == "redis://h:1/2?health_check_interval=3"


def test_only_the_server_on_the_map_is_our_own() -> None:
    addresses = {"redis": "127.0.0.1:16379"}

    def own(url: str) -> bool:
        return is_own(Mesh(state_dir=Path("nowhere"), redis_url=url, addresses=addresses))

    assert own("redis://127.0.0.1:16379/0")
    for url in ("redis://:p@127.0.0.1:16379/0", "redis+cluster://127.0.0.1:16379", "redis://127.0.0.1/0"):
        assert not own(url)
    with pytest.raises(ValueError, match="no such Redis role"):
        connection_options(Mesh(state_dir=Path("nowhere"), redis_url="redis://h"), "root")
