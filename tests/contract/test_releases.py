"""What was released is kept: planted breaks of the protos are each caught by name, and the real ones break nothing."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from services import contracts
from services.mesh import ROOT
from tests.release.promises import breaking, latest, lost_streams, releases

EVENTS = "protos/astra/trading/v1/events.proto"
SERVICE = "protos/astra/trading/v1/trading_service.proto"

Planted = tuple[str, Callable[[str], str], str]


def without_line(part: str) -> Callable[[str], str]:
    def changed(text: str) -> str:
        lines = text.splitlines(keepends=True)
        at = next(index for index, line in enumerate(lines) if part in line)
        return "".join(lines[:at] + lines[at + 1 :])

    return changed


def replaced(old: str, new: str) -> Callable[[str], str]:
    def changed(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return changed


PLANTED: dict[str, Planted] = {
    "a removed field": (EVENTS, without_line(" fee = "), 'with name "fee"'),
    "a renumbered field": (EVENTS, replaced("string symbol = 3;", "string symbol = 103;"), '"symbol"'),
    "a field of another type": (EVENTS, replaced("string symbol = 3;", "bytes symbol = 3;"), '"symbol"'),
    "a renamed event": (EVENTS, replaced("message TradeExecuted {", "message TradeMade {"), '"TradeExecuted"'),
    "a renamed rpc": (SERVICE, replaced("rpc ExecuteTrade(", "rpc MakeTrade("), '"ExecuteTrade"'),
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The protos alone, to plant something in."""
    shutil.copytree(ROOT / "protos", tmp_path / "protos", ignore=shutil.ignore_patterns("released"))
    shutil.copytree(ROOT / "gen" / "googleapis", tmp_path / "gen" / "googleapis")
    shutil.copy(ROOT / "buf.yaml", tmp_path)
    return tmp_path


def test_there_is_a_release_and_nothing_breaks_it() -> None:
    assert releases()
    for release in releases():
        assert breaking(ROOT, release) == []
        assert lost_streams(release) == []


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_break_is_caught_by_name(name: str, checkout: Path) -> None:
    path, change, told = PLANTED[name]
    release = latest()
    assert release is not None
    file = checkout / path
    file.write_text(change(file.read_text()))
    problems = breaking(checkout, release)
    assert any(told in problem and path.removeprefix("protos/") in problem for problem in problems), problems


def test_an_event_that_is_an_event_no_more_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its mark a message breaks no proto, but its stream would be read by nobody any more."""
    release = latest()
    assert release is not None
    stream = "astra.trading.trade_executed.v1"
    left = {name: kind for name, kind in contracts.events().items() if name != stream}
    monkeypatch.setattr(contracts, "events", lambda: left)
    assert [problem.split(":")[0] for problem in lost_streams(release)] == [stream]
