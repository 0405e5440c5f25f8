"""Which rule a path leads to, in the corners that the collected cases leave open."""

import itertools
import time

import pytest

from gateway.parser import parse
from gateway.percent import BadEscape
from gateway.router import RedirectToPath, RouteClash, Router, RouterOptions, UnknownMethod, UnknownPath


def _router(*rules: str, options: RouterOptions | None = None) -> Router[str]:
    router: Router[str] = Router(options or RouterOptions())
    for rule in rules:
        method, _, template = rule.partition(" ")
        router.add(method, parse(template), rule)
    return router


RULES = ("GET /a/b", "GET /a/*", "GET /a/**", "GET /**", "GET /{x}/b/c", "POST /a/{y=b}:go", "GET /a/**/z")


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("/a/b", "GET /a/b"),
        ("/a/c", "GET /a/*"),
        ("/a/b/c", "GET /a/**"),  # `a` is a literal, so it goes before `*`, though `/{x}/b/c` has more literals
        ("/c/b/c", "GET /{x}/b/c"),
        ("/a/b/z", "GET /a/**/z"),
        ("/a/z", "GET /a/*"),
        ("/q/w", "GET /**"),
        ("/", "GET /**"),
        ("/a/b%3Ago", "GET /a/*"),  # an escaped colon makes no verb
        ("/a%2Fb", "GET /**"),  # nor an escaped slash a segment
        ("/%61/b", "GET /a/b"),  # an escaped letter is that letter
    ],
)
def test_order_of_registration_does_not_matter(path: str, rule: str) -> None:
    for rules in itertools.islice(itertools.permutations(RULES), 0, 5040, 211):
        assert _router(*rules).find("GET", path).target == rule


def test_two_rpcs_on_one_route_are_refused_by_name() -> None:
    with pytest.raises(RouteClash, match=r"GET /v1/\{b\} and GET /v1/\{a\}"):
        _router("GET /v1/{a}", "GET /v1/{b}")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/v1/x", {"GET", "HEAD", "PATCH"}),
        ("GET", "/v1/x:go", {"POST"}),  # the verb is known there, so it is no value
        ("get", "/v1/x", {"GET", "HEAD", "PATCH"}),  # methods are case-sensitive
    ],
)
def test_known_path_with_another_method_tells_what_is_allowed(method: str, path: str, allowed: set[str]) -> None:
    with pytest.raises(UnknownMethod) as error:
        _router("GET /v1/{a}", "PATCH /v1/{a}", "POST /v1/{a}:go").find(method, path)
    assert error.value.allowed == allowed


def test_head_is_served_by_get_unless_it_has_a_rule() -> None:
    assert _router("GET /a").find("HEAD", "/a").target == "GET /a"
    assert _router("GET /a", "HEAD /a").find("HEAD", "/a").target == "HEAD /a"


def test_other_methods_of_a_better_match_do_not_hide_a_rule() -> None:
    assert _router("POST /v1/me", "GET /v1/{name}").find("GET", "/v1/me").target == "GET /v1/{name}"


def test_trailing_slash_has_three_meanings() -> None:
    rules = ("GET /a", "GET /b:go", "GET /c/{x=**}")
    exact, lenient, redirect = (
        _router(*rules, options=RouterOptions(trailing_slash=mode)) for mode in ("exact", "lenient", "redirect")
    )
    assert lenient.find("GET", "/a/").target == "GET /a"
    for router in (exact, lenient, redirect):
        assert router.find("GET", "/c/d/").values == (("x", "d/"),)
        with pytest.raises(UnknownPath):
            router.find("GET", "/b:go/")
        with pytest.raises(UnknownPath):
            router.find("GET", "/a//")
    with pytest.raises(UnknownPath):
        exact.find("GET", "/a/")
    with pytest.raises(RedirectToPath) as redirected:
        redirect.find("GET", "/a/")
    assert redirected.value.path == "/a"
    with pytest.raises(UnknownPath):  # a redirect to `//a` would lead to the host `a`
        _router("GET /{x=**}/a", options=RouterOptions(trailing_slash="redirect")).find("GET", "//a/")


@pytest.mark.parametrize("path", ["/%", "/%2", "/%zz", "/a/%ff", "/%C3", "/a:%"])
def test_bad_escape_is_refused_before_any_rule(path: str) -> None:
    with pytest.raises(BadEscape):
        _router("GET /**").find("GET", path)


def test_lookup_stays_fast_among_14000_routes() -> None:
    router = _router(
        *(
            f"GET /v1/kind{kind}/{{id}}/part{part}/{{sub=**}}/end:do{kind % 7}"
            for kind in range(140)
            for part in range(100)
        )
    )
    started = time.process_time()
    for _ in range(500):
        assert router.find("GET", "/v1/kind99/some/part77/a/b/c/end:do1").values[1] == ("sub", "a/b/c")
    assert (time.process_time() - started) / 500 < 100e-6
