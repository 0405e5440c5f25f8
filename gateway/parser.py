"""Path templates of `google.api.http`: from text to segments and variables."""

from dataclasses import dataclass
from enum import Enum
from urllib.parse import quote, unquote_to_bytes

from gateway.scanner import Scanner


class Kind(Enum):
    """What a segment of a template matches."""

    LITERAL = "literal"
    ANY = "*"
    REST = "**"


@dataclass(frozen=True, slots=True)
class Segment:
    kind: Kind
    text: str = ""
    """What a literal matches, decoded."""

    def __str__(self) -> str:
        return _canonical(self.text) if self.kind is Kind.LITERAL else self.kind.value


@dataclass(frozen=True, slots=True)
class Variable:
    """A field and the segments that fill it."""

    field_path: str
    start: int
    end: int | None
    """One past its last segment, counted from the path's end (so negative) when a `**` is inside; None for the end."""
    several: bool
    """Whether it may hold several segments: then an escaped slash stays escaped."""


@dataclass(frozen=True, slots=True)
class Template:
    text: str
    segments: tuple[Segment, ...]
    variables: tuple[Variable, ...]
    verb: str = ""
    """Decoded; empty for none."""


def parse(text: str) -> Template:
    """Parses a path template.

    Template  = "/" [ Segments ] [ Verb ] ;       a verb needs segments
    Segments  = Segment { "/" Segment } ;         after "**" only literals
    Segment   = "*" | "**" | LITERAL | Variable ;
    Variable  = "{" FieldPath [ "=" Segments ] "}" ;    not nested; "{x}" is "{x=*}"
    FieldPath = IDENT { "." IDENT } ;
    Verb      = ":" LITERAL ;

    Raises:
        TemplateError: the text is no template; it gives the column.
    """
    scanner = Scanner(text)
    scanner.expect("/")
    reading = _Reading(scanner)
    verb = ""
    if scanner.peek():
        reading.segments_until_end()
        if scanner.take(":"):
            verb = scanner.literal("a verb")
        if scanner.peek():
            scanner.fail(f"unexpected {scanner.peek()!r}")
    return Template(text, tuple(reading.segments), reading.resolved(), _decoded(verb))


class _Reading:
    """One template half read."""

    def __init__(self, scanner: Scanner) -> None:
        self.scanner = scanner
        self.segments: list[Segment] = []
        self.spans: list[tuple[str, int, int]] = []
        self.rest_at: int | None = None

    def segments_until_end(self, *, inside: bool = False) -> None:
        self.segment(inside=inside)
        while self.scanner.take("/"):
            self.segment(inside=inside)

    def segment(self, *, inside: bool) -> None:
        scanner = self.scanner
        if scanner.peek() == "{":
            if inside:
                scanner.fail("a variable may not stand inside of a variable")
            self.variable()
        elif scanner.take("**"):
            self.add(Segment(Kind.REST), width=2)
        elif scanner.take("*"):
            self.add(Segment(Kind.ANY), width=1)
        else:
            self.add(Segment(Kind.LITERAL, _decoded(scanner.literal("a path segment"))), width=0)

    def add(self, segment: Segment, *, width: int) -> None:
        if self.rest_at is not None and segment.kind is not Kind.LITERAL:
            self.scanner.position -= width
            self.scanner.fail("only literals may follow `**`")
        if segment.kind is Kind.REST:
            self.rest_at = len(self.segments)
        self.segments.append(segment)

    def variable(self) -> None:
        scanner = self.scanner
        opened = scanner.position
        scanner.expect("{")
        field_path = scanner.identifier()
        while scanner.take("."):
            field_path += "." + scanner.identifier()
        if any(field_path == taken for taken, _, _ in self.spans):
            scanner.position = opened
            scanner.fail(f"the variable {field_path!r} stands here twice")
        if self.rest_at is not None:
            scanner.position = opened
            scanner.fail("only literals may follow `**`")
        start = len(self.segments)
        if scanner.take("="):
            self.segments_until_end(inside=True)
        else:
            self.add(Segment(Kind.ANY), width=0)
        scanner.expect("}")
        self.spans.append((field_path, start, len(self.segments)))

    def resolved(self) -> tuple[Variable, ...]:
        """Returns the variables, with their ends counted from the path's end where a `**` makes its length open."""
        total, rest = len(self.segments), self.rest_at
        found = []
        for field_path, start, end in self.spans:
            holds_rest = rest is not None and start <= rest < end
            last = (end - total or None) if holds_rest else end
            found.append(Variable(field_path, start, last, several=holds_rest or end - start > 1))
        return tuple(found)


def _decoded(literal: str) -> str:
    # Paths that are no UTF-8 are refused, so such a literal matches none: surrogates keep it apart from all paths.
    return unquote_to_bytes(literal).decode("utf-8", "surrogateescape")


def _canonical(decoded: str) -> str:
    return quote(decoded.encode("utf-8", "surrogateescape"), safe="")
