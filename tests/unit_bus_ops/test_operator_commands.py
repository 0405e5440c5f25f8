"""What the operator's commands do before and after a call: reading arguments, keeping a session, printing."""

import io
import json
import stat
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
import typer
from astra.analytics.v1.trace_pb2 import TracedEvent
from astra.bridge.v1.bus_pb2 import BusEvent
from rich.console import Console
from typer.testing import CliRunner

from bridge.__main__ import app
from bridge.commands.dead_letters import Name
from bridge.commands.options import parse_position, parse_time
from bridge.commands.printing import age
from bridge.commands.session import Session, SignIn, keep_session, read_session
from bridge.commands.tail import event_line, full_names
from bridge.commands.trace import causal_tree
from services.mesh import Mesh

NOW = datetime(2027, 1, 15, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "is_time"),
    [
        ("2027-01-15T10:30:00Z", "2027-01-15T10:30:00Z"),
        ("2027-01-15T10:30:00.25+02:00", "2027-01-15T08:30:00.250Z"),
        ("90s", "2027-01-15T11:58:30Z"),
        ("15m", "2027-01-15T11:45:00Z"),
        ("2h", "2027-01-15T10:00:00Z"),
        ("3d", "2027-01-12T12:00:00Z"),
    ],
)
def test_a_time_is_a_moment_or_so_long_ago(text: str, is_time: str) -> None:
    assert parse_time(text, now=NOW).ToJsonString() == is_time


@pytest.mark.parametrize("text", ["", "yesterday", "15 m", "-5m", "1e3s", "2027-13-01", "99999999999d", "٣m"])
def test_what_is_no_time_is_refused_with_how_to_write_one(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="2h, 3d for so long ago"):
        parse_time(text, now=NOW)


def test_digits_alone_are_an_ordinal() -> None:
    assert parse_position("17").ordinal == 17
    assert parse_position("17m").HasField("time")
    for text in ("0", str(2**63)):
        with pytest.raises(typer.BadParameter, match="begin with 1"):
            parse_position(text)


def test_a_stream_may_be_named_short_and_a_domain_means_all_of_its_streams() -> None:
    assert full_names(["nft.nft_sold"]) == ["astra.nft.nft_sold.v1"]
    assert full_names(["astra.nft.nft_sold.v1", "nft.nft_sold"]) == ["astra.nft.nft_sold.v1"]
    assert len(full_names(["user"])) == 3
    with pytest.raises(typer.BadParameter, match="no stream"):
        full_names(["nft.nothing"])


def test_the_name_of_a_dead_letter_reads_as_it_is_printed() -> None:
    name = Name("g", "astra.nft.nft_sold.v1", "5-0")
    assert Name.parse(str(name)) == name
    for text in ("g/5-0", "g//5-0", "a/b/c/d"):
        with pytest.raises(typer.BadParameter, match="GROUP/STREAM/ID"):
            Name.parse(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0.0 s"), (9.94, "9.9 s"), (59, "59 s"), (600, "10 min"), (7200, "2 h"), (200_000, "2 d")]
)
def test_an_age_is_told_in_two_figures(seconds: float, text: str) -> None:
    assert age(seconds) == text


def test_a_chain_is_shown_as_the_tree_of_its_causes() -> None:
    depths = {"trading.trade_executed": 0, "gamification.xp_gained": 1, "gamification.level_up": 2, "nft.sold": 1}
    events = [TracedEvent(stream=f"astra.{name}.v1", stream_id="5-1", depth=depth) for name, depth in depths.items()]
    console = Console(file=io.StringIO(), width=100)
    console.print(causal_tree("chain", events))
    assert isinstance(console.file, io.StringIO)
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    assert [line.index("+") for line in lines[1:]] == [4, 8, 12, 8]


def test_an_event_is_one_line_with_its_fields() -> None:
    event = BusEvent(stream="astra.trading.trade_executed.v1", id="5-7", correlation_id="c", user_id="u")
    event.data.update({"userId": "u", "symbol": "BTC", "fee": {"currencyCode": "USD", "amount": "1.50"}, "tags": ["a"]})
    assert event_line(event).plain.endswith("trading.trade_executed #7  c  user u  fee=1.50/USD symbol=BTC tags=[a]")
    broken = BusEvent(stream="astra.trading.trade_executed.v1", id="5-7", problem="it is no event")
    assert event_line(broken).plain == "trading.trade_executed 5-7  it is no event"


class TestSession:
    def signing_in(self, folder: Path, username: str = "") -> SignIn:
        channel: Any = grpc.insecure_channel("127.0.0.1:1")
        return SignIn(Mesh.at(folder), channel, username)

    def kept(self, folder: Path, *, seconds: float = 600) -> Path:
        file = folder / "operator" / "session.json"
        keep_session(file, Session(username="root", token="kept", expire_seconds=time.time() + seconds))
        return file

    def test_it_is_kept_for_its_owner_alone(self, tmp_path: Path) -> None:
        file = self.kept(tmp_path)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        assert self.signing_in(tmp_path).token() == "kept"
        assert self.signing_in(tmp_path, "root").token() == "kept"

    def test_a_token_from_outside_comes_first(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kept(tmp_path)
        monkeypatch.setenv("ASTRA_TOKEN", "given")
        signing_in = self.signing_in(tmp_path)
        assert (signing_in.token(), signing_in.forget()) == ("given", False)

    @pytest.mark.parametrize(("seconds", "username"), [(600, "other"), (5, "root")])
    def test_another_admins_or_an_ending_one_is_not_used(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, seconds: float, username: str
    ) -> None:
        self.kept(tmp_path, seconds=seconds)
        monkeypatch.delenv("ASTRA_ADMIN_PASSWORD", raising=False)
        monkeypatch.setattr(sys, "stdin", io.StringIO())
        with pytest.raises(typer.Exit):
            self.signing_in(tmp_path, username).token()
        assert "set ASTRA_ADMIN_PASSWORD" in capsys.readouterr().err

    def test_a_damaged_one_is_as_none(self, tmp_path: Path) -> None:
        file = self.kept(tmp_path)
        for text in ("", "{}", "[1]", '{"username": "root"}'):
            file.write_text(text)
            assert read_session(file) is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["replay", "g", "--from", "never"], "is no time"),
        (["replay", "g"], "--from"),
        (["replay", "g", "--from", "1", "--rate", "0"], "--rate"),
        (["dead-letters", "retry"], "give --all"),
        (["dead-letters", "retry", "g/nft.nft_sold/1-0", "--all"], "give --all"),
        (["dead-letters", "show", "x"], "GROUP/STREAM/ID"),
        (["tail", "--stream", "nothing"], "is no stream"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_asked(
    arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mesh = Mesh.at(tmp_path, free_ports=True)
    monkeypatch.setenv("ASTRA_MESH", str(mesh.save()))
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert says in result.output


def test_a_mesh_that_is_away_is_told_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASTRA_MESH", str(Mesh.at(tmp_path, free_ports=True).save()))
    monkeypatch.setenv("ASTRA_TOKEN", "any")
    result = CliRunner().invoke(app, ["status"])
    assert (result.exit_code, "is `make run` going?" in result.output) == (1, True)
    assert "Traceback" not in result.output
    assert json.dumps(result.output).count("make run") == 1
