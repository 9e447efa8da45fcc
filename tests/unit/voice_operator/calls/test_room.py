"""What is kept of a room that LiveKit did not make, or did not speak of."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from rooms.client import LiveKitUnavailableError, RoomClient
from testing.operator_objects import NOW, UID, make_session
from testing.tickets import TICKETS
from voice_operator.calls.memory import Calls
from voice_operator.calls.room import CallRooms
from voice_operator.calls.steps import MakeRoom, TellRefusal
from voicesession.conditions import Reason
from voicesession.models import EffectiveLimits
from voicesession.serving import Problem


@pytest.fixture
async def nowhere() -> AsyncIterator[RoomClient]:
    """A client of a LiveKit that is not there: nobody listens at port 1."""
    client = RoomClient("http://127.0.0.1:1", "key", "s" * 32)
    yield client
    await client.close()


async def test_why_there_is_no_room_is_known_to_the_next_decision(nowhere: RoomClient) -> None:
    calls = Calls()
    rooms = CallRooms(nowhere, TICKETS, calls)
    memory = replace(calls.meet(UID, NOW), room="room")
    with pytest.raises(LiveKitUnavailableError) as refused:
        await rooms.make(memory, MakeRoom(make_session(room=None), EffectiveLimits()))
    assert calls.get(UID) == replace(memory, livekit_error=str(refused.value))


async def test_a_customer_who_cannot_be_told_of_a_refusal_is_told_no_more(nowhere: RoomClient) -> None:
    calls, problem = Calls(), Problem(Reason.NO_CAPACITY, "none")
    memory = replace(calls.meet(UID, NOW), room="room", untold=problem)
    assert (await CallRooms(nowhere, TICKETS, calls).tell(memory, TellRefusal(problem))).untold is None
