"""The grammar of path templates: what is refused, and at which column."""

import pytest

from gateway.parser import Kind, parse
from gateway.scanner import TemplateError


@pytest.mark.parametrize(
    ("template", "column", "problem"),
    [
        ("", 1, "expected '/'"),
        ("v1/a", 1, "expected '/', got 'v'"),
        ("//", 2, "expected a path segment, got '/'"),
        ("/a/", 4, "got the end"),
        ("/:verb", 2, "expected a path segment, got ':'"),
        ("/a:", 4, "expected a verb"),
        ("/a:b:c", 5, "unexpected ':'"),  # one verb
        ("/a:b/c", 5, "unexpected '/'"),  # a verb ends the path
        ("/a/{x=b:c}", 8, "expected '}', got ':'"),  # no verb inside
        ("/{1}", 3, "expected a field name"),
        ("/{a.1}", 5, "expected a field name"),
        ("/{a-b}", 4, "expected '}', got '-'"),
        ("/{a", 4, "expected '}', got the end"),
        ("/{a={b}}", 5, "a variable may not stand inside of a variable"),
        ("/{a}b", 5, "unexpected 'b'"),  # a variable is a whole segment
        ("/a{b}", 3, "unexpected '{'"),
        ("/{a}/{a}", 6, "'a' stands here twice"),
        ("/a*", 3, "unexpected '*'"),
        ("/a/***", 6, "unexpected '*'"),
        ("/**/*", 5, "only literals may follow `**`"),
        ("/**/{a}", 5, "only literals may follow `**`"),
        ("/a%2", 3, "two hexadecimal digits"),
        ("/a?b", 3, "unexpected '?'"),
        ("/a b", 3, "unexpected ' '"),
    ],
)
def test_broken_template_is_refused_at_its_column(template: str, column: int, problem: str) -> None:
    with pytest.raises(TemplateError) as refused:
        parse(template)
    assert refused.value.column == column
    assert problem in str(refused.value)


def test_template_keeps_kinds_apart_from_escaped_stars() -> None:
    template = parse("/%2A/*/{rest=x/**}/y:go")
    kinds = [segment.kind for segment in template.segments]
    assert kinds == [Kind.LITERAL, Kind.ANY, Kind.LITERAL, Kind.REST, Kind.LITERAL]
    assert (template.segments[0].text, template.verb) == ("*", "go")
    (rest,) = template.variables
    assert (rest.start, rest.end, rest.several) == (2, -1, True)
