"""What is kept of a room that LiveKit did not make, or did not speak of."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from rooms.client import LiveKitUnavailableError, RoomClient
from testing.operator_objects import NOW, UID, make_session
from testing.tickets import TICKETS
from voice_operator.calls.memory import Calls
from voice_operator.calls.room import CallRooms
from voice_operator.calls.steps import MakeRoom
from voicesession.models import EffectiveLimits


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


@pytest.mark.parametrize("absent", [False, True])
async def test_a_livekit_that_does_not_answer_says_nothing_of_the_agent(nowhere: RoomClient, *, absent: bool) -> None:
    calls = Calls()
    memory = replace(calls.meet(UID, NOW), room="room", agent_absent=absent)
    after = await CallRooms(nowhere, TICKETS, calls).ask(memory)
    assert after.agent_absent == absent
    assert after.asked_livekit_at is not None
