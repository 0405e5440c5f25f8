"""A trie of path templates: which rule a method and a raw path lead to.

A literal goes before `*`, `*` before `**`, with backtracking, whatever the order of registration. Every node of the
trie takes one segment, so a lookup visits a node at most once, without recursion.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

from gateway import percent
from gateway.parser import Kind, Template

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterOptions:
    trailing_slash: Literal["exact", "lenient", "redirect"] = "lenient"
    """What `/a/` means where only `/a` is known: nothing, `/a`, or a redirect to it."""
    unregistered_verb: Literal["value", "refuse"] = "value"
    """What `:x` at the end means where no verb `x` is: a part of the value, or an unknown path."""
    unescape: Literal["all", "all-but-slash", "all-but-reserved"] = "all-but-slash"
    """Which escapes a variable of several segments decodes; one of a single segment decodes all."""


class RouteClash(ValueError):
    """Two rules ask for the same requests: give one of them another path or verb."""


class UnknownPath(LookupError):
    """No rule has the path, whatever the method."""


class UnknownMethod(LookupError):
    """The path is known, but not with this method."""

    def __init__(self, allowed: frozenset[str]) -> None:
        super().__init__("the path is known, but not with this method")
        self.allowed = allowed


class RedirectToPath(LookupError):
    """The path is known without its trailing slash, and the options ask for a redirect."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


@dataclass(frozen=True, slots=True)
class Match(Generic[T]):
    target: T
    template: Template
    values: tuple[tuple[str, str], ...]
    """Field path and decoded text of each variable."""


@dataclass(frozen=True, slots=True)
class _Entry(Generic[T]):
    target: T
    template: Template


_Ends = dict[str, dict[str, _Entry[T]]]
"""Entries by verb and method."""


@dataclass(slots=True)
class _Node(Generic[T]):
    literals: dict[str, "_Node[T]"] = field(default_factory=dict)
    any: "_Node[T] | None" = None
    ends: _Ends[T] = field(default_factory=dict)
    rests: dict[tuple[str, ...], _Ends[T]] = field(default_factory=dict)
    """What follows a `**` here: its literals."""
    rest_lengths: list[int] = field(default_factory=list)
    """Lengths of the keys of `rests`, longest first."""


class Router(Generic[T]):
    """Finds the target of a request. Only `find` is called once it serves."""

    def __init__(self, options: RouterOptions) -> None:
        self._options = options
        self._root: _Node[T] = _Node()
        self._kept = percent.KEPT[options.unescape]

    def add(self, method: str, template: Template, target: T) -> None:
        """Registers a rule.

        Raises:
            RouteClash: another rule has the same method and matches the same paths.
        """
        node = self._root
        ends = None
        for index, segment in enumerate(template.segments):
            if segment.kind is Kind.REST:
                suffix = tuple(literal.text for literal in template.segments[index + 1 :])
                ends = node.rests.setdefault(suffix, {})
                node.rest_lengths = sorted({len(key) for key in node.rests}, reverse=True)
                break
            if segment.kind is Kind.ANY:
                node.any = node.any or _Node()
                node = node.any
            else:
                node = node.literals.setdefault(segment.text, _Node())
        methods = (node.ends if ends is None else ends).setdefault(template.verb, {})
        if taken := methods.get(method):
            raise RouteClash(
                f"{target} and {taken.target} are both {method} {template.text!r}"
                + (f" ({taken.template.text!r})" if taken.template.text != template.text else "")
            )
        methods[method] = _Entry(target, template)

    def find(self, method: str, raw_path: str) -> Match[T]:
        """Returns the rule of a request. `raw_path` is as sent, with its escapes; HEAD is served by GET.

        Raises:
            UnknownPath, UnknownMethod, RedirectToPath: there is none.
            BadEscape: the path cannot be decoded.
        """
        try:
            return self._find(method, raw_path)
        except UnknownPath:
            # A path that starts with two slashes would redirect to another host.
            slashed = len(raw_path) > 1 and raw_path.endswith("/") and not raw_path.startswith("//")
            if self._options.trailing_slash != "redirect" or not slashed:
                raise
            if self._find(method, raw_path[:-1]).template.verb:
                raise
        raise RedirectToPath(raw_path[:-1])

    def _find(self, method: str, raw_path: str) -> Match[T]:
        found: _Entry[T] | None = None
        allowed: set[str] = set()
        for raw, verb in self._readings(raw_path):
            segments = [percent.decode(segment) for segment in raw]
            for ends in self._walk(segments):
                methods = ends.get(verb)
                if methods is None:
                    continue
                found = methods.get(method) or (methods.get("GET") if method == "HEAD" else None)
                if found:
                    return self._match(found, raw)
                allowed |= methods.keys()
            if allowed:
                raise UnknownMethod(frozenset(allowed | ({"HEAD"} if "GET" in allowed else set())))
        raise UnknownPath("no rule has this path")

    def _readings(self, raw_path: str) -> Iterator[tuple[list[str], str]]:
        """Yields the ways to read a path: with a verb, without one, without the trailing slash."""
        if not raw_path.startswith("/"):
            return
        segments = raw_path[1:].split("/") if raw_path != "/" else []
        if segments and ":" in segments[-1]:
            last, _, verb = segments[-1].rpartition(":")
            if verb:
                yield [*segments[:-1], last], percent.decode(verb)
                if self._options.unregistered_verb == "refuse":
                    return
        yield segments, ""
        if self._options.trailing_slash == "lenient" and len(segments) > 1 and not segments[-1]:
            yield segments[:-1], ""

    def _walk(self, segments: list[str]) -> Iterator[_Ends[T]]:
        """Yields what is registered for the segments, the most specific first."""
        count = len(segments)
        # `rest` marks the visit that comes back for the `**` of a node, after its literals and `*` failed.
        pending: list[tuple[_Node[T], int, bool]] = [(self._root, 0, False)]
        while pending:
            node, index, rest = pending.pop()
            if rest:
                for length in node.rest_lengths:
                    if length <= count - index and (
                        ends := node.rests.get(tuple(segments[count - length :]) if length else ())
                    ):
                        yield ends
                continue
            if node.rests:
                pending.append((node, index, True))
            if index == count:
                if node.ends:
                    yield node.ends
                continue
            segment = segments[index]
            if node.any is not None and segment:
                pending.append((node.any, index + 1, False))
            if child := node.literals.get(segment):
                pending.append((child, index + 1, False))

    def _match(self, entry: _Entry[T], raw: list[str]) -> Match[T]:
        values = []
        for variable in entry.template.variables:
            parts = raw[variable.start : variable.end]
            kept = self._kept if variable.several else None
            values.append((variable.field_path, "/".join(percent.decode_but(part, kept) for part in parts)))
        return Match(entry.target, entry.template, tuple(values))
