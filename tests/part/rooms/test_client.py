"""The rooms of a real LiveKit."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import pytest
from livekit import rtc

from rooms.client import RoomClient
from testing.livekit import KEY, SECRET, LiveKitServer, new_room, running_livekit
from voicesession import clock
from voicesession.admission import Refuse
from voicesession.customer_words import RefusalReason
from voicesession.models import EffectiveLimits
from voicesession.names import DATA_TOPIC
from voicesession.tickets import new_ticket, parse_ticket

LIMITS = EffectiveLimits()
REFUSAL = Refuse(RefusalReason.PROFILE_FULL, "All places are taken.")


@pytest.fixture(scope="module")
def livekit() -> Iterator[LiveKitServer]:
    """A LiveKit for this module; take rooms of your own in it."""
    with running_livekit() as server:
        yield server


@pytest.fixture
async def rooms(livekit: LiveKitServer) -> AsyncIterator[RoomClient]:
    client = RoomClient(livekit.url, KEY, SECRET)
    yield client
    await client.close()


class Guest:
    """A customer in a room. `gone` is set when the room closes."""

    def __init__(self) -> None:
        self.room = rtc.Room()
        self.heard: list[tuple[str | None, Any]] = []
        self.gone = asyncio.Event()
        self.room.on("data_received", lambda packet: self.heard.append((packet.topic, json.loads(packet.data))))
        self.room.on("disconnected", lambda _reason: self.gone.set())


async def test_a_room_is_made_once_with_its_first_ticket_and_found_by_name(rooms: RoomClient) -> None:
    name, ticket = new_room(), new_ticket("default")
    made = await rooms.create(name, ticket, LIMITS)
    assert made.name == name
    assert made.sid.startswith("RM_")
    assert parse_ticket(made.metadata) == ticket
    assert abs(clock.now() - made.created_at) < timedelta(seconds=30)
    assert await rooms.create(name, new_ticket("another"), LIMITS) == made
    assert await rooms.find(name) == made
    assert made in await rooms.list()
    assert await rooms.list([name, new_room()]) == [made]


async def test_only_the_meant_start_of_a_room_is_deleted(rooms: RoomClient) -> None:
    name = new_room()
    made = await rooms.create(name, new_ticket("default"), LIMITS)
    await rooms.delete(name, "RM_an_earlier_start")
    assert await rooms.find(name) == made
    await rooms.delete(name, made.sid)
    assert await rooms.find(name) is None
    for sid in (made.sid, None):
        await rooms.delete(name, sid)  # what is gone may be deleted again


async def test_nobody_is_told_in_a_room_that_is_gone(rooms: RoomClient) -> None:
    await rooms.tell(new_room(), {"type": "refused"})
    assert not await rooms.has_agent(new_room())


@pytest.mark.parametrize("just_arrived", [True, False])
async def test_who_is_turned_away_hears_why_before_the_room_closes(
    rooms: RoomClient, livekit: LiveKitServer, just_arrived: bool
) -> None:
    made = await rooms.create(new_room(), new_ticket("default"), LIMITS)
    guest = Guest()
    await guest.room.connect(livekit.url, livekit.customer_token(made.name))
    if not just_arrived:
        async with asyncio.timeout(20):
            while not guest.heard:
                await rooms.tell(made.name, {"type": "hello"})
        guest.heard.clear()
    await rooms.turn_away(made, REFUSAL, just_arrived=just_arrived)
    await asyncio.wait_for(guest.gone.wait(), 20)
    told = {"type": "refused", "reason": "profile-full", "message": REFUSAL.message, "retryAfterSeconds": 15}
    assert (DATA_TOPIC, told) in guest.heard
    assert await rooms.find(made.name) is None


async def test_an_agent_is_told_from_a_customer(rooms: RoomClient, livekit: LiveKitServer) -> None:
    name = new_room()
    customer, agent = rtc.Room(), rtc.Room()
    await customer.connect(livekit.url, livekit.customer_token(name))
    assert not await rooms.has_agent(name)
    await agent.connect(livekit.url, livekit.agent_token(name))
    assert await rooms.has_agent(name)
    await agent.disconnect()
    await customer.disconnect()
