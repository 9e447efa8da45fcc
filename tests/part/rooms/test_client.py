"""The rooms of a real LiveKit."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from livekit import rtc

from local_cluster.ports import free_port
from rooms.client import LiveKitUnavailableError, RoomClient
from testing.guest import guest_in
from testing.livekit import KEY, SECRET, LiveKitServer, new_room
from voicesession import clock
from voicesession.admission import Refuse
from voicesession.customer_words import RefusalReason
from voicesession.models import EffectiveLimits
from voicesession.tickets import LEFT_TO_PEOPLE

LIMITS = EffectiveLimits()
REFUSAL = Refuse(RefusalReason.PROFILE_FULL, "All places are taken.")
TOLD = {"type": "refused", "reason": "profile-full", "message": REFUSAL.message, "retryAfterSeconds": 15}


@pytest.fixture
async def rooms(livekit: LiveKitServer) -> AsyncIterator[RoomClient]:
    client = RoomClient(livekit.url, KEY, SECRET)
    yield client
    await client.close()


async def test_a_room_is_made_once_with_its_first_ticket_and_found_by_name(rooms: RoomClient) -> None:
    name = new_room()
    made = await rooms.create(name, "its ticket", LIMITS)
    assert made.name == name
    assert made.sid.startswith("RM_")
    assert made.metadata == "its ticket"
    assert abs(clock.now() - made.created_at) < timedelta(seconds=30)
    assert await rooms.create(name, "another ticket", LIMITS) == made
    assert await rooms.find(name) == made
    assert made in await rooms.list()
    assert await rooms.list([name, new_room()]) == [made]


async def test_a_wrong_key_a_wrong_port_and_a_name_that_nobody_knows_are_told_apart(livekit: LiveKitServer) -> None:
    async def ask(url: str, secret: str = SECRET) -> tuple[str | None, bool]:
        client = RoomClient(url, KEY, secret)
        try:
            with pytest.raises(LiveKitUnavailableError) as raised:
                await client.list()
            return raised.value.code, raised.value.unresolved
        finally:
            await client.close()

    assert await ask(livekit.url, "another" * 8) == ("unknown", False)
    assert await ask(f"http://127.0.0.1:{free_port()}") == (None, False)
    assert await ask("http://nobody.invalid:7880") == (None, True)


async def test_only_the_meant_start_of_a_room_is_deleted(rooms: RoomClient) -> None:
    name = new_room()
    made = await rooms.create(name, "its ticket", LIMITS)
    await rooms.delete(name, "RM_an_earlier_start")
    assert await rooms.find(name) == made
    await rooms.delete(name, made.sid)
    assert await rooms.find(name) is None
    for sid in (made.sid, None):
        await rooms.delete(name, sid)  # what is gone may be deleted again


async def test_nobody_is_told_in_a_room_that_is_gone(rooms: RoomClient) -> None:
    await rooms.tell(new_room(), {"type": "refused"})
    assert not await rooms.has_agent(new_room())


async def test_who_has_just_arrived_hears_why_before_the_room_closes(rooms: RoomClient, livekit: LiveKitServer) -> None:
    made = await rooms.create(new_room(), "its ticket", LIMITS)
    async with guest_in(livekit, made.name) as guest:
        await rooms.turn_away(made, REFUSAL, just_arrived=True)
        await guest.until_gone()
    assert guest.heard == [TOLD]
    assert await rooms.find(made.name) is None


async def test_who_is_there_already_hears_why_before_the_room_closes(rooms: RoomClient, livekit: LiveKitServer) -> None:
    made = await rooms.create(new_room(), "its ticket", LIMITS)
    async with guest_in(livekit, made.name) as guest:
        async with asyncio.timeout(20):
            while not guest.heard:
                await rooms.tell(made.name, {"type": "hello"})
        await rooms.turn_away(made, REFUSAL, just_arrived=False)
        await guest.until_gone()
    assert guest.heard[-1] == TOLD
    assert await rooms.find(made.name) is None


async def test_an_agent_is_told_from_a_customer(rooms: RoomClient, livekit: LiveKitServer) -> None:
    async with guest_in(livekit) as guest:
        assert not await rooms.has_agent(guest.room.name)
        agent = rtc.Room()
        await agent.connect(livekit.url, livekit.agent_token(guest.room.name))
        assert await rooms.has_agent(guest.room.name)
        assert await rooms.people(guest.room.name) == {guest.room.local_participant.identity}
        await agent.disconnect()


async def test_a_room_is_left_to_several_people_and_not_to_one(rooms: RoomClient, livekit: LiveKitServer) -> None:
    made = await rooms.create(new_room(), "its ticket", LIMITS)
    async with guest_in(livekit, made.name):
        human = rtc.Room()
        await human.connect(livekit.url, livekit.customer_token(made.name, "human"))
        assert await rooms.delete_or_leave(made.name, made.sid)
        left = await rooms.find(made.name)
        assert left is not None
        assert (left.sid, left.metadata) == (made.sid, LEFT_TO_PEOPLE)
        await human.disconnect()
        assert await rooms.delete_or_leave(made.name, made.sid), "it is theirs, also when one of them is left"
        assert not await rooms.delete_or_leave(made.name, "RM_an_earlier_start")
    lonely = await rooms.create(new_room(), "its ticket", LIMITS)
    async with guest_in(livekit, lonely.name) as guest:
        agent = rtc.Room()
        await agent.connect(livekit.url, livekit.agent_token(lonely.name))
        assert not await rooms.delete_or_leave(lonely.name, lonely.sid)
        await guest.until_gone()
        await agent.disconnect()
