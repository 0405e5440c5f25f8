"""What a line of the log says, and what it never does."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from services.runtime.logs import Levels, bind_chain, configure_logs, hide_secrets

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    kept = structlog.get_config()
    yield
    structlog.configure(**kept)
    structlog.contextvars.clear_contextvars()


def lines(levels: str = "info") -> tuple[Any, Any]:
    """Returns a logger of this module, and what reads the lines it has written."""
    written = io.StringIO()
    configure_logs(levels=Levels.parse(levels), to=written)
    return structlog.get_logger(), lambda: [json.loads(line) for line in written.getvalue().splitlines()]


def test_a_line_names_its_module_its_chain_and_its_trace() -> None:
    log, read = lines()
    bind_chain("my-trade", TRACE)
    log.info("trade.made", symbol="STRK")
    (line,) = read()
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "trade.made",
        "symbol": "STRK",
        "level": "info",
        "logger": __name__,
        "correlation_id": "my-trade",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
    }


@pytest.mark.parametrize(
    ("levels", "written"),
    [
        ("", ["info", "error"]),
        ("warning", ["error"]),
        ("debug", ["debug", "info", "error"]),
        (f"warning,{__name__}=debug", ["debug", "info", "error"]),
        (f"debug,{__name__}=error", ["error"]),
        ("info,bridge=debug", ["info", "error"]),
    ],
)
def test_levels_are_set_by_module(levels: str, written: list[str]) -> None:
    log, read = lines(levels)
    for level in ("debug", "info", "error"):
        getattr(log, level)("said")
    assert [line["level"] for line in read()] == written


def test_a_level_that_is_none_is_refused_with_those_there_are() -> None:
    with pytest.raises(SystemExit, match=r"'loud' is no level; there are .*debug"):
        Levels.parse("info,bridge=loud")


def test_the_nearest_module_decides() -> None:
    levels = Levels.parse("error,bridge=info,bridge.lane=debug")
    assert [levels.level_of(name) for name in ("bridge.lane", "bridge.tail", "bridgework", "gateway")] == [
        logging.DEBUG,
        logging.INFO,
        logging.ERROR,
        logging.ERROR,
    ]


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("password", "correct horse", "[hidden]"),
        ("access_token", "abc", "[hidden]"),
        ("Authorization", "Basic abc", "[hidden]"),
        ("email", "ada@example.com", "[hidden]"),
        (
            "error",
            "cannot reach redis://bridge:s3cret@127.0.0.1:6379/0",
            "cannot reach redis://bridge:[hidden]@127.0.0.1:6379/0",
        ),
        ("error", "sent Bearer abc.def to it", "sent Bearer [hidden] to it"),
        ("error", "token eyJhbGciOi.eyJzdWIi.c2lnbg is old", "token [hidden] is old"),
        ("why", "ada.l@example.com is taken", "[hidden] is taken"),
        ("stream", "astra.trading.trade_executed.v1", "astra.trading.trade_executed.v1"),
        ("producer", "trading@host:17", "trading@host:17"),
        ("count", 5, 5),
    ],
)
def test_secrets_are_hidden(key: str, value: object, shown: object) -> None:
    assert hide_secrets(None, "info", {key: value})[key] == shown
