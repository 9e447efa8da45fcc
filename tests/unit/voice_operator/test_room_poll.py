"""The poll of the rooms goes on, whatever one room or one answer is like."""

import asyncio
import contextlib
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY
from pydantic import SecretStr

from kube.client import ConflictError, ForbiddenError, InvalidError, KubernetesApi, KubernetesError
from rooms.client import LiveKitUnavailableError, RoomClient
from testing.operator_objects import make_profile, make_session
from testing.tickets import TICKETS, sign_ticket
from voice_operator.cache import Cache
from voice_operator.keys import Key
from voice_operator.room_poll import RoomPoll
from voice_operator.seen_rooms import SeenRooms
from voice_operator.settings import OperatorSettings
from voice_operator.work_queue import WorkQueue
from voicesession import clock
from voicesession.admission import Refuse, RoomStart


class Rooms:
    """LiveKit with rooms of old tickets. `stuck` ones cannot be deleted; `errors` are what the next lists raise."""

    def __init__(
        self,
        *names: str,
        stuck: tuple[str, ...] = (),
        ticket_age: timedelta = timedelta(hours=1),
        age: timedelta = timedelta(minutes=2),
    ) -> None:
        self.errors: list[Exception] = []
        self.deleted: list[str] = []
        self.left: list[str] = []
        self.told: list[object] = []
        self.looked = asyncio.Event()
        self._stuck = stuck
        now = clock.now()
        self._rooms = [
            RoomStart(name, f"sid-of-{name}", now - age, sign_ticket(name, issued_at=now - ticket_age))
            for name in names
        ]

    def restart(self) -> None:
        """Gives every room another sid, as a LiveKit that was restarted does."""
        self._rooms = [replace(room, sid=f"{room.sid}-anew") for room in self._rooms]

    async def list(self) -> list[RoomStart]:
        if self.errors:
            raise self.errors.pop(0)
        self.looked.set()
        return self._rooms

    async def turn_away(self, room: RoomStart, refusal: Refuse, *, just_arrived: bool) -> None:
        assert not just_arrived
        self.told.append(refusal.reason)
        await self.delete(room.name, room.sid)

    async def delete_or_leave(self, name: str, _sid: str) -> bool:
        self.left.append(name)
        return True

    async def delete(self, name: str, _sid: str) -> None:
        if name in self._stuck:
            raise LiveKitUnavailableError("the node of this room does not answer")
        self.deleted.append(name)


class RefusingKubernetes:
    """An API server that takes no VoiceSession."""

    def __init__(self, error: KubernetesError) -> None:
        self._error = error

    async def create_session(self, _body: dict[str, object]) -> None:
        raise self._error


class KnowingKubernetes:
    """An API server that has these VoiceSessions."""

    def __init__(self, *sessions: dict[str, Any]) -> None:
        self._sessions = sessions

    async def list_objects(self, _plural: str, _selector: str) -> tuple[list[dict[str, Any]], int]:
        return [*self._sessions], 1


def make_poll(
    rooms: Rooms, kubernetes: object = None, cache: Cache | None = None, queue: WorkQueue[Key] | None = None
) -> RoomPoll:
    settings = OperatorSettings(
        livekit_url="http://livekit",
        livekit_api_key="key",
        livekit_api_secret=SecretStr("secret"),
        signing_key_file=Path("key"),
        conversation_key_file=Path("key"),
        installation_key_file=Path("key"),
        room_poll_seconds=0.001,
    )
    kubernetes = cast(KubernetesApi, kubernetes or KnowingKubernetes())
    queue = queue or cast("WorkQueue[Key]", Keys())
    return RoomPoll(settings, TICKETS, cache or Cache(), kubernetes, cast(RoomClient, rooms), SeenRooms(), queue)


class Keys:
    """A queue that only keeps what is to be looked at."""

    def __init__(self) -> None:
        self.added: list[Key] = []

    def add(self, key: Key) -> None:
        self.added.append(key)


def live_session(name: str = "vs-one", room: str = "one", **fields: Any) -> dict[str, Any]:
    session = make_session(name, uid=f"uid-of-{name}", room=room, **fields).to_wire()
    return {**session, "metadata": {**session["metadata"], "resourceVersion": "1"}}


async def test_a_room_that_cannot_be_closed_does_not_keep_the_others_open() -> None:
    rooms = Rooms("stuck", "one", "two", stuck=("stuck",))
    await make_poll(rooms).poll_once()
    assert rooms.deleted == ["one", "two"]


@pytest.mark.parametrize(
    ("error", "told", "deleted"),
    [
        (ForbiddenError(403, "forbidden: exceeded quota: calls"), ["rejected"], ["one"]),
        (InvalidError(422, "an admission policy denied it"), ["rejected"], ["one"]),
        (ConflictError(409, "already exists"), [], []),  # its webhook came after all
        (KubernetesError(401, "Unauthorized"), [], []),  # not about this room: it is looked at again
        (ForbiddenError(403, "cannot create resource"), [], []),
    ],
)
async def test_a_room_whose_voice_session_the_api_server_rejects_is_turned_away(
    error: KubernetesError, told: list[str], deleted: list[str]
) -> None:
    cache = Cache()
    profile = make_profile().model_dump(mode="json", by_alias=True)
    profile["metadata"]["resourceVersion"] = "1"
    cache.profiles.put(profile)
    rooms = Rooms("one", ticket_age=timedelta(minutes=1))
    await make_poll(rooms, RefusingKubernetes(error), cache).poll_once()
    assert (rooms.told, rooms.deleted) == (told, deleted)


@pytest.mark.parametrize(("end", "left", "deleted"), [(False, ["one"], []), (True, [], ["one"])])
async def test_a_left_over_room_may_be_left_to_people_unless_somebody_ended_it_all(
    end: bool, left: list[str], deleted: list[str]
) -> None:
    cache, rooms = Cache(), Rooms("one")
    told: dict[str, Any] = {
        "status_phase": "Ended",
        "status_agent_joined_at": clock.now(),
        "status_room_sid": "sid-of-one",
    }
    cache.sessions.put(live_session(end=end, **told))
    await make_poll(rooms, cache=cache).poll_once()
    assert (rooms.left, rooms.deleted) == (left, deleted)


async def test_a_livekit_that_closes_no_room_is_not_asked_for_each() -> None:
    names = [f"room-{number}" for number in range(5)]
    rooms = Rooms(*names, "fine", stuck=tuple(names))
    with pytest.raises(LiveKitUnavailableError):
        await make_poll(rooms).poll_once()
    assert rooms.deleted == []


async def test_a_room_is_not_closed_under_a_call_that_no_watch_has_told_of() -> None:
    rooms, cache = Rooms("one", "two"), Cache()
    poll = make_poll(rooms, KnowingKubernetes(live_session()), cache)
    await poll.poll_once()
    assert rooms.deleted == ["two"]
    assert cache.sessions.get("vs-one") is not None


async def test_a_room_is_not_closed_under_a_call_that_this_release_cannot_read() -> None:
    rooms, newer = Rooms("one"), live_session()
    newer["spec"]["profile"] = {"of": "a newer release"}
    await make_poll(rooms, KnowingKubernetes(newer)).poll_once()
    assert rooms.deleted == []


async def test_calls_whose_room_is_not_what_it_was_are_looked_at() -> None:
    cache, rooms, queue = Cache(), Rooms("moved", "same", "by-hand"), Keys()
    for name, sid in (("moved", "RM_before"), ("same", "sid-of-same"), ("missing", "RM_3"), ("by-hand", None)):
        cache.sessions.put(live_session(f"vs-{name}", name, **({"roomSid": sid} if sid else {})))
    cache.sessions.put(live_session("vs-to-come", "to-come"))  # its room may still be made
    poll = make_poll(rooms, cache=cache, queue=cast("WorkQueue[Key]", queue))
    await poll.poll_once()
    assert {key.name for key in queue.added} == {"uid-of-vs-missing"}
    queue.added.clear()
    rooms.restart()
    await poll.poll_once()
    assert {key.name for key in queue.added} == {"uid-of-vs-moved", "uid-of-vs-same", "uid-of-vs-missing"}
    assert rooms.deleted == []


@pytest.mark.parametrize("ahead", [timedelta(0), timedelta(seconds=59)])
async def test_a_room_that_was_just_made_is_left_to_who_has_made_it(
    monkeypatch: pytest.MonkeyPatch, ahead: timedelta
) -> None:
    """Its VoiceSession may still be on its way, also where this clock is ahead of LiveKit's."""
    rooms = Rooms("one", age=ahead)
    poll = make_poll(rooms)
    await poll.poll_once()
    later = clock.steady() + timedelta(seconds=10)
    monkeypatch.setattr(clock, "steady", lambda: later)
    assert rooms.deleted == []
    await poll.poll_once()
    assert rooms.deleted == ["one"]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "reached"),
        (LiveKitUnavailableError("no such host", unresolved=True), "unresolved"),
        (LiveKitUnavailableError("refused"), "unanswered"),
        (LiveKitUnavailableError("invalid token", "unauthenticated"), "refused"),
    ],
)
async def test_how_livekit_has_answered_is_shown(error: LiveKitUnavailableError | None, outcome: str) -> None:
    rooms = Rooms()
    rooms.errors = [error] if error else []
    with contextlib.suppress(LiveKitUnavailableError):
        await make_poll(rooms).poll_once()
    outcomes = ("reached", "unresolved", "unanswered", "refused")
    shown = {each for each in outcomes if REGISTRY.get_sample_value("voice_operator_livekit", {"outcome": each})}
    assert shown == {outcome}


async def test_an_unforeseen_error_does_not_end_the_poll() -> None:
    rooms = Rooms()
    rooms.errors = [ValueError("a strange answer"), LiveKitUnavailableError("away")]
    task = asyncio.create_task(make_poll(rooms).run())
    async with asyncio.timeout(10):
        await rooms.looked.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
