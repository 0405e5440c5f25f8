"""Dead letters through the bus: listed, shown, retried with one effect, dropped; and each kept as an action."""

from typing import Any

import grpc
import pytest
from astra.bridge.v1 import bus_service_pb2 as pb
from google.protobuf import json_format

from tests.serving import reason_of
from tests.unit_bus_ops.world import EXECUTED, GROUP, World, envelope


async def letters(world: World, **filters: Any) -> list[Any]:
    return list((await world.call("ListDeadLetters", pb.ListDeadLettersRequest(**filters))).dead_letters)


async def retry(world: World, letter: Any, request_id: str = "") -> Any:
    request = pb.RetryDeadLetterRequest(request_id=request_id, group=letter.group, stream=letter.stream, id=letter.id)
    return await world.call("RetryDeadLetter", request)


async def drop(world: World, letter: Any, request_id: str = "") -> Any:
    request = pb.DropDeadLetterRequest(request_id=request_id, group=letter.group, stream=letter.stream, id=letter.id)
    return await world.call("DropDeadLetter", request)


async def given_up(world: World) -> Any:
    """Lets the group give up on the trade `bad`, and returns the dead letter."""
    await world.break_("bad")
    await world.record("good", "bad")
    await world.consume()
    (letter,) = await letters(world)
    assert world.effects() == ["good"]
    return letter


async def test_a_dead_letter_is_listed_and_shown_with_its_event(world: World) -> None:
    listed = await given_up(world)
    assert (listed.group, listed.stream, listed.deliveries) == (GROUP, EXECUTED, 5)
    assert listed.error == "ValueError: bad is broken"
    assert (listed.event.user_id, listed.event.correlation_id) == ("user-of-bad", "chain")
    assert not listed.event.HasField("data"), "data is shown one by one, as an action"
    request = pb.GetDeadLetterRequest(group=GROUP, stream=EXECUTED, id=listed.id)
    shown = (await world.call("GetDeadLetter", request)).dead_letter
    assert json_format.MessageToDict(shown.event.data) == {"tradeId": "bad", "userId": "user-of-bad"}
    assert shown.entry_id.endswith("-2")


async def test_a_retry_that_fails_again_changes_nothing(world: World) -> None:
    letter = await given_up(world)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await retry(world, letter)
    assert (caught.value.code().name, reason_of(caught.value)) == ("FAILED_PRECONDITION", "REACTION_FAILED")
    assert "bad is broken" in (caught.value.details() or "")
    assert [left.id for left in await letters(world)] == [letter.id]
    assert world.effects() == ["good"]


async def test_a_retry_has_the_effect_once(world: World) -> None:
    letter = await given_up(world)
    await world.mend()
    first = await retry(world, letter, "r1")
    assert not first.already_applied
    assert await retry(world, letter, "r1") == first, "a repeat is answered alike"
    assert world.effects() == ["bad", "good"]
    assert await letters(world) == []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await retry(world, letter, "r2")
    assert (caught.value.code().name, reason_of(caught.value)) == ("NOT_FOUND", "DEAD_LETTER_NOT_FOUND")


async def test_a_bridge_killed_between_effect_and_removal_leaves_a_letter_that_has_no_second_effect(
    world: World,
) -> None:
    letter = await given_up(world)
    ((_, fields),) = await world.redis.xrange(f"{{{EXECUTED}}}.dlq.{GROUP}")
    await world.mend()
    await retry(world, letter)
    await world.redis.xadd(f"{{{EXECUTED}}}.dlq.{GROUP}", fields)  # as if it had never been removed
    (again,) = await letters(world)
    assert (await retry(world, again)).already_applied
    assert world.effects() == ["bad", "good"]
    assert await letters(world) == []


async def test_a_dropped_letter_never_has_its_effect(world: World) -> None:
    letter = await given_up(world)
    await world.mend()
    dropped = await drop(world, letter, "d1")
    assert dropped.dead_letter.event.event_id == letter.event.event_id
    assert await drop(world, letter, "d1") == dropped
    assert await letters(world) == []
    await world.consume()
    assert world.effects() == ["good"]


async def test_pages_show_each_letter_once(world: World) -> None:
    await world.record("t1")
    for group in ("a", "b", "c"):
        await world.redis.xgroup_create(EXECUTED, group, "0")
        for n in range(3 if group != "b" else 0):
            key = f"{{{EXECUTED}}}.dlq.{group}"
            await world.redis.xadd(key, {"e": envelope(f"{group}{n}"), "id": "1-1", "deliveries": "5"})
    seen: list[str] = []
    request = pb.ListDeadLettersRequest(page_size=2)
    while True:
        page = await world.call("ListDeadLetters", request)
        assert len(page.dead_letters) <= 2
        seen += [letter.event.event_id for letter in page.dead_letters]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert seen == [f"event-{group}{n}" for group in "ac" for n in range(3)]
    assert [letter.group for letter in await letters(world, group="c", stream=EXECUTED)] == ["c"] * 3


@pytest.mark.parametrize(
    ("stream", "id_", "refusal"),
    [
        (EXECUTED, "1-1", ("NOT_FOUND", "DEAD_LETTER_NOT_FOUND")),
        (EXECUTED, "x", ("INVALID_ARGUMENT", "INVALID_FIELD")),
        ("astra.trading.nothing.v1", "1-1", ("NOT_FOUND", "STREAM_NOT_FOUND")),
    ],
)
async def test_what_is_not_there_is_refused(world: World, stream: str, id_: str, refusal: tuple[str, str]) -> None:
    for name, request in (("GetDeadLetter", pb.GetDeadLetterRequest), ("DropDeadLetter", pb.DropDeadLetterRequest)):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await world.call(name, request(group=GROUP, stream=stream, id=id_))
        assert (caught.value.code().name, reason_of(caught.value)) == refusal


async def test_what_an_admin_does_is_kept_with_what_came_of_it(world: World) -> None:
    letter = await given_up(world)
    with pytest.raises(grpc.aio.AioRpcError):
        await retry(world, letter)
    await drop(world, letter)
    first = await world.call("ListBusActions", pb.ListBusActionsRequest(page_size=1))
    rest = await world.call("ListBusActions", pb.ListBusActionsRequest(page_token=first.next_page_token))
    actions = [*first.actions, *rest.actions]
    assert [(action.user_id, action.rpc) for action in actions] == [
        ("root", "DropDeadLetter"),
        ("root", "RetryDeadLetter"),
    ]
    assert "dropped" in actions[0].outcome
    assert actions[1].outcome.startswith("FAILED_PRECONDITION: takers fails on it again")
    assert letter.id in actions[1].request
    assert all(action.HasField("end_time") for action in actions)
