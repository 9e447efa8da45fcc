"""The poll of the rooms goes on, whatever one room or one answer is like."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import SecretStr

from voice_operator.kubernetes_api import KubernetesApi
from voice_operator.livekit_rooms import LiveKitRooms, LiveKitUnavailableError, Room
from voice_operator.picture import Picture
from voice_operator.room_poll import RoomPoll
from voice_operator.settings import OperatorSettings
from voicesession.tickets import new_ticket

pytestmark = pytest.mark.unit


class Rooms:
    """LiveKit with rooms of old tickets. `stuck` ones cannot be deleted; `errors` are what the next lists raise."""

    def __init__(self, *names: str, stuck: tuple[str, ...] = ()) -> None:
        self.errors: list[Exception] = []
        self.deleted: list[str] = []
        self.looked = asyncio.Event()
        self._stuck = stuck
        ticket = new_ticket("default").model_copy(update={"issued_at": datetime.now(UTC) - timedelta(hours=1)})
        metadata, started = ticket.model_dump_json(by_alias=True), datetime.now(UTC) - timedelta(minutes=1)
        self._rooms = [Room(name, f"sid-of-{name}", metadata, started) for name in names]

    async def list(self) -> list[Room]:
        if self.errors:
            raise self.errors.pop(0)
        self.looked.set()
        return self._rooms

    async def tell(self, _name: str, _message: dict[str, object]) -> None:
        pass

    async def delete(self, name: str, _sid: str) -> None:
        if name in self._stuck:
            raise LiveKitUnavailableError("the node of this room does not answer")
        self.deleted.append(name)


def make_poll(rooms: Rooms) -> RoomPoll:
    settings = OperatorSettings(
        livekit_url="http://livekit",
        livekit_api_key="key",
        livekit_api_secret=SecretStr("secret"),
        signing_key_file=Path("key"),
        conversation_key_file=Path("key"),
        room_poll_seconds=0.001,
    )
    nobody: Any = None
    return RoomPoll(settings, Picture(), cast(KubernetesApi, nobody), cast(LiveKitRooms, rooms))


async def test_a_room_that_cannot_be_closed_does_not_keep_the_others_open() -> None:
    rooms = Rooms("stuck", "one", "two", stuck=("stuck",))
    await make_poll(rooms).poll_once()
    assert rooms.deleted == ["one", "two"]


async def test_a_livekit_that_closes_no_room_is_not_asked_for_each() -> None:
    names = [f"room-{number}" for number in range(5)]
    rooms = Rooms(*names, "fine", stuck=tuple(names))
    with pytest.raises(LiveKitUnavailableError):
        await make_poll(rooms).poll_once()
    assert rooms.deleted == []


async def test_an_unforeseen_error_does_not_end_the_poll() -> None:
    rooms = Rooms()
    rooms.errors = [ValueError("a strange answer"), LiveKitUnavailableError("away")]
    task = asyncio.create_task(make_poll(rooms).run())
    await asyncio.wait_for(rooms.looked.wait(), 10)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
