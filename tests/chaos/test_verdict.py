"""The comparison itself: each way in which a stream may differ from its outbox is seen."""

import pytest
from astra.event.v1.envelope_pb2 import Envelope

from tests.chaos.records import Row
from tests.chaos.verdict import compare_streams


def row(number: int, event: str = "") -> Row:
    return Row(f"1000-{number}", Envelope(id=event or f"event-{number}").SerializeToString())


OUTBOX = [row(1), row(2), row(3), row(4)]


@pytest.mark.parametrize(
    ("stream", "wrong"),
    [
        (OUTBOX, (0, 0, 0)),
        (OUTBOX[2:], (2, 0, 2)),
        (OUTBOX[:3], (1, 0, 0)),
        ([], (4, 0, 0)),
        ([row(1), row(2), row(4)], (1, 0, 1)),
        ([row(1), row(3), row(2), row(4)], (0, 0, 2)),
        ([*OUTBOX, row(5, "event-4")], (0, 1, 0)),
        ([*OUTBOX, row(5)], (0, 0, 1)),
        ([row(1), row(2), row(3), row(9, "event-4")], (0, 0, 1)),
    ],
)
def test_what_differs_is_lost_doubled_or_misplaced(stream: list[Row], wrong: tuple[int, int, int]) -> None:
    found = compare_streams({"s": OUTBOX}, {"s": stream}, trim=False)
    assert (found.lost, found.doubled, found.misplaced) == wrong
    assert found.right == (wrong == (0, 0, 0))


def test_what_may_be_trimmed_is_the_front_alone() -> None:
    found = compare_streams({"s": OUTBOX}, {"s": OUTBOX[2:]}, trim=True)
    assert found.right
    assert found.trimmed == 2
    assert not compare_streams({"s": OUTBOX}, {"s": OUTBOX[:2]}, trim=True).right
