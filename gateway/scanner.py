"""The characters of a path template: what a literal and an identifier may hold, and where the reading stands."""

import re
from typing import NoReturn

_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# RFC 3986 `pchar` without `:` (it starts a verb) and escapes (checked on their own).
_LITERAL = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=@-]+")


class TemplateError(ValueError):
    """A path template breaks the grammar; the message gives the column to look at."""

    def __init__(self, template: str, column: int, problem: str) -> None:
        super().__init__(f"path template {template!r}, column {column}: {problem}")
        self.column = column


class Scanner:
    """Reads a template from left to right."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0

    def peek(self) -> str:
        """Returns the next character, or nothing at the end."""
        return self.text[self.position : self.position + 1]

    def take(self, token: str) -> bool:
        """Steps over a token if it comes next, and tells whether it did."""
        if not self.text.startswith(token, self.position):
            return False
        self.position += len(token)
        return True

    def expect(self, token: str) -> None:
        if not self.take(token):
            self.fail(f"expected {token!r}, got {self._next()}")

    def identifier(self) -> str:
        found = _IDENTIFIER.match(self.text, self.position)
        if not found:
            self.fail("expected a field name: a letter or `_`, then letters, digits and `_`")
        self.position = found.end()
        return found.group()

    def literal(self, what: str) -> str:
        """Reads a literal as it is written. A `*` may stand inside of one, never at its ends."""
        start = self.position
        while True:
            if found := _LITERAL.match(self.text, self.position):
                self.position = found.end()
            elif self.peek() == "%":
                escape = _ESCAPE.match(self.text, self.position)
                if not escape:
                    self.fail("a `%` needs two hexadecimal digits after it")
                self.position = escape.end()
            else:
                break
        read = self.text[start : self.position]
        if not read:
            self.fail(f"expected {what}, got {self._next()}")
        if "*" in (read[0], read[-1]):
            self.position = start if read[0] == "*" else self.position - 1
            self.fail("unexpected '*': a wildcard is a segment of its own")
        return read

    def _next(self) -> str:
        return repr(self.peek()) if self.peek() else "the end"

    def fail(self, problem: str) -> NoReturn:
        raise TemplateError(self.text, self.position + 1, problem)
