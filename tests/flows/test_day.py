"""The scripted day of ten users on a real mesh; `make demo` shows it."""

import sqlite3
from contextlib import closing

import pytest

from tests.story.day import DayPlay
from tests.story.day_views import agreed_summary, read_views, summarize
from tests.story.play import Stage
from tests.story.privacy import everything_said, leaks

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.long]


async def test_ledger_leaderboard_and_feed_agree_on_a_day_and_a_planted_line_is_noticed(stage: Stage) -> None:
    day = await DayPlay(stage).play()
    summary = await agreed_summary(stage, day)
    assert summary.disagreements == []
    assert (len(day.trades), len(day.sales), len(day.subscription_payments), day.card_refusals) == (12, 2, 2, 1)
    assert day.battle["winnerClanId"]
    assert sorted(set(leaks(await everything_said(stage), stage.rest.secrets))) == []
    with closing(sqlite3.connect(stage.running.mesh.database("social"), timeout=10)) as database, database:
        columns = [
            row[1]
            for row in database.execute("PRAGMA table_info(feed_entry)")
            if row[1] not in ("seq", "feed_entry_id")
        ]
        names = ", ".join(columns)
        planted = database.execute(
            f"INSERT INTO feed_entry (feed_entry_id, {names}) SELECT 'planted', {names} FROM feed_entry"
            " WHERE user_id = ? AND text LIKE 'sold%' LIMIT 1",
            (day.people["ada"].user_id,),
        )
        assert planted.rowcount == 1
    after = summarize(day, await read_views(stage, day))
    assert after.disagreements == [
        "NFTs sold: users 2, ledger 2, feed 3",
        "their price, SHARDS: users 150, feed 210",
    ]
