"""Logs: one line an event of interest; JSON for machines, colours where a person looks on.

`ASTRA_LOG=warning,bridge=debug` sets the level: first that of all, then those of modules and what is in them.
"""

import logging
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TextIO

import structlog

from services.telemetry.tracing import trace_id

LEVELS = "ASTRA_LOG"

_SECRET_KEYS = re.compile(r"password|secret|token|authorization|cookie|private|api_?key|e_?mail", re.IGNORECASE)
_SECRET_TEXT = re.compile(
    r"(?P<bearer>bearer\s+)\S+|(?P<scheme>\w+://[^\s/:@]*:)[^\s@]+(?=@)|eyJ[\w-]+\.[\w-]+\.[\w-]+"
    r"|[\w.+-]+@[\w-]+(?:\.[\w-]+)+|-----BEGIN[^-]*PRIVATE KEY-----.*",
    re.IGNORECASE | re.DOTALL,
)
_HIDDEN = "[hidden]"
_SUSPICIOUS = re.compile(r"[@.]|earer|-----", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Levels:
    """What is logged, by module."""

    rest: int = logging.INFO
    of: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> "Levels":
        """Reads `info,bridge.lane=debug`. Raises `SystemExit` for what is no level."""
        rest, of = logging.INFO, {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            module, _, name = part.rpartition("=")
            level = logging.getLevelNamesMapping().get(name.strip().upper())
            if level is None:
                known = ", ".join(sorted(logging.getLevelNamesMapping())).lower()
                raise SystemExit(f"{LEVELS}: {name!r} is no level; there are {known}")
            if module:
                of[module.strip()] = level
            else:
                rest = level
        return cls(rest, of)

    @property
    def lowest(self) -> int:
        return min(self.rest, *self.of.values()) if self.of else self.rest

    def level_of(self, module: str) -> int:
        """Returns the level of a module: its own, else that of the nearest it is in."""
        while module:
            if module in self.of:
                return self.of[module]
            module = module.rpartition(".")[0]
        return self.rest


def configure_logs(*, levels: Levels | None = None, to: TextIO | None = None) -> None:
    """Sets up the log of a process, on standard error unless it has another place."""
    levels = levels or Levels.parse(os.environ.get(LEVELS, ""))
    to = to or sys.stderr
    people = to.isatty()
    # The default for people prints local variables with a traceback: passwords and keys among them.
    pretty = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(
        processors=[
            _Filter(levels),
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([] if people else [structlog.processors.format_exc_info]),
            hide_secrets,
            pretty if people else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(levels.lowest),
        logger_factory=partial(_Printer, to),
        cache_logger_on_first_use=True,
    )


def bind_chain(correlation_id: str, traceparent: str) -> None:
    """Has the lines of the running task name their chain, and its trace if there is one."""
    ids = {"correlation_id": correlation_id}
    if traceparent:
        ids["trace_id"] = trace_id(traceparent)
    structlog.contextvars.bind_contextvars(**ids)


def hide_secrets(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Hides what must not be in a log, whoever put it there by mistake: tokens, passwords, keys, e-mail addresses."""
    for key, value in event.items():
        if _SECRET_KEYS.search(key):
            event[key] = _HIDDEN
        elif isinstance(value, str) and _SUSPICIOUS.search(value):
            event[key] = _SECRET_TEXT.sub(_without_secret, value)
    return event


def _without_secret(found: re.Match[str]) -> str:
    return f"{found['bearer'] or found['scheme'] or ''}{_HIDDEN}"


class _Printer(structlog.WriteLogger):
    """Writes each line at once, since workers share their output; and knows the module that logs."""

    def __init__(self, to: TextIO, *_: object) -> None:
        super().__init__(to)
        # Made at the first line of each module: between here and there is only structlog.
        frame = sys._getframe(1)
        while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith("structlog"):
            frame = frame.f_back
        self.module = str(frame.f_globals.get("__name__"))


class _Filter:
    """Drops lines below their module's level, and names the module in the others."""

    def __init__(self, levels: Levels) -> None:
        self._levels = levels

    def __call__(self, logger: Any, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        module = getattr(logger, "module", "")
        if getattr(logging, method.upper(), logging.ERROR) < self._levels.level_of(module):
            raise structlog.DropEvent
        event["logger"] = module
        return event
