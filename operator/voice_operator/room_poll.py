"""Compares LiveKit's rooms with the VoiceSessions, both ways.

Finds starts whose webhook was lost, closes what is left over, and has calls looked at whose room is not what it was.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from kube.client import ConflictError, KubernetesApi, KubernetesError, KubernetesUnavailableError
from kube.refusals import is_about_the_object
from rooms.client import LiveKitUnavailableError, RoomClient
from voice_operator.cache import Cache
from voice_operator.keys import Key, Kind
from voice_operator.metrics import CALL_ROOMS, LOST_WEBHOOK, ROOMS_POLLED, show_livekit
from voice_operator.seen_rooms import SeenRooms
from voice_operator.settings import OperatorSettings
from voice_operator.work_queue import WorkQueue
from voice_telemetry.logs import log_context
from voicesession import clock
from voicesession.admission import (
    REJECTED,
    Admission,
    Admit,
    AlreadyServed,
    Grounds,
    NotOurs,
    Refuse,
    RoomStart,
    decide_admission,
    is_finished,
    may_leave_room_to_people,
    room_of,
)
from voicesession.models import VoiceSession
from voicesession.names import ROOM_HASH_LABEL, VOICE_SESSIONS, short_hash
from voicesession.tickets import TicketKey

log = logging.getLogger(__name__)

# The webhook is faster when it comes at all; and an older LiveKit tells the start of a room in whole seconds.
_WEBHOOK_GRACE = timedelta(seconds=3)
# So many rooms in one poll that cannot be settled are no trouble of theirs but LiveKit's, or the API server's.
_FAILURES_TO_GIVE_UP = 3


class RoomPoll:
    """Polls the rooms as long as `run` runs."""

    def __init__(
        self,
        settings: OperatorSettings,
        tickets: TicketKey,
        cache: Cache,
        kubernetes: KubernetesApi,
        rooms: RoomClient,
        seen: SeenRooms,
        queue: WorkQueue[Key],
    ) -> None:
        """`seen`: takes in every list. `queue`: for the calls whose room has changed."""
        self._settings = settings
        self._grounds = Grounds(cache.sessions, cache.profiles.by_name, settings.admission_limits, tickets)
        self._cache = cache
        self._kubernetes = kubernetes
        self._rooms = rooms
        self._seen = seen
        self._queue = queue
        self._began: dict[str, datetime] = {}  # by sid: when rooms without a call began, by the steady clock

    async def run(self) -> None:
        """Polls until cancelled; an outage of LiveKit or the API server, or a strange room, only delays it."""
        while True:
            await asyncio.sleep(self._settings.room_poll_seconds)
            try:
                await self.poll_once()
            except (LiveKitUnavailableError, KubernetesError, KubernetesUnavailableError) as error:
                log.warning("the rooms could not be compared", extra={"error": error})
            except Exception:
                log.exception("the rooms could not be compared")

    async def poll_once(self) -> None:
        """Looks at every room once. One that cannot be settled does not keep the others from it.

        Raises:
            LiveKitUnavailableError: LiveKit does not answer.
            KubernetesError, KubernetesUnavailableError: the API server does not answer, or takes no VoiceSession.
        """
        asked_at = clock.steady()
        try:
            rooms = await self._rooms.list()
        except LiveKitUnavailableError as error:
            show_livekit(_outcome_of(error))
            self._seen.lose_sight()
            raise
        show_livekit("reached")
        self._look_at_calls(rooms, asked_at)
        failures = 0
        for room, age in self._find_unserved(rooms, asked_at):
            if age <= _WEBHOOK_GRACE:
                continue
            with log_context(room=room.name, roomSid=room.sid):
                try:
                    await self._settle(room, age)
                except (LiveKitUnavailableError, KubernetesError) as error:
                    failures += 1
                    if failures >= _FAILURES_TO_GIVE_UP:
                        raise
                    log.warning("the room could not be settled", extra={"error": error})

    def _find_unserved(self, rooms: Sequence[RoomStart], asked_at: datetime) -> list[tuple[RoomStart, timedelta]]:
        """Returns the rooms without a call in progress, and how old each is at least, whosever clock is off."""
        unserved = [room for room in rooms if not self._cache.sessions.count("live-room", room.name)]
        ahead = clock.wall_ahead()
        self._began = {
            room.sid: self._began.get(room.sid) or clock.at_first_sight(room.created_at, asked_at, ahead)
            for room in unserved
        }
        return [(room, asked_at - self._began[room.sid]) for room in unserved]

    def _look_at_calls(self, rooms: Sequence[RoomStart], asked_at: datetime) -> None:
        """Has every call looked at whose room is another start than it was, is missing, or is back."""
        calls = {room: each for each in self._cache.sessions.all() if (room := _room_there_was(each))}
        changes = self._seen.take(rooms, calls.keys(), asked_at)
        for name, change in changes.items():
            CALL_ROOMS.labels(change).inc()
            log.info("a call's room has changed", extra={"change": change, **calls[name].log_fields})
        for name in {*changes, *self._seen.missing}:
            self._queue.add(Key(Kind.CALL, calls[name].metadata.uid))

    async def _settle(self, room: RoomStart, age: timedelta) -> None:
        admission = decide_admission(room, room.created_at + age, self._grounds)
        ROOMS_POLLED.labels(_outcome(admission)).inc()
        match admission:
            case Admit(body):
                await self._create(room, body)
            case Refuse():
                if not admission.may_be_unseen or not await self._is_served(room):
                    await self._turn_away(room, admission)
            case AlreadyServed(name, finished=True):
                await self._close(room, name)
            case AlreadyServed() | NotOurs():
                pass

    async def _close(self, room: RoomStart, name: str) -> None:
        session = self._cache.sessions.get(name)
        if session and may_leave_room_to_people(session):
            is_left = await self._rooms.delete_or_leave(room.name, room.sid)
        else:
            is_left = False
            await self._rooms.delete(room.name, room.sid)
        log.info("a room whose call is over is closed", extra={"voicesession": name, "leftToPeople": is_left})

    async def _create(self, room: RoomStart, body: dict[str, object]) -> None:
        try:
            raw = await self._kubernetes.create_session(body)
        except ConflictError:
            return  # its webhook came after all
        except KubernetesError as error:
            if not is_about_the_object(error):
                raise
            log.exception("the room gets no VoiceSession")
            await self._turn_away(room, REJECTED)
            return
        self._cache.sessions.put(raw)
        log.info("VoiceSession created: the room's webhook was lost", extra=VoiceSession.model_validate(raw).log_fields)

    async def _is_served(self, room: RoomStart) -> bool:
        """Looks for calls of this room that no watch has told of, or that this release cannot read."""
        found, _ = await self._kubernetes.list_objects(VOICE_SESSIONS, f"{ROOM_HASH_LABEL}={short_hash(room.name)}")
        for raw in found:
            self._cache.sessions.put(raw)
        unreadable = any(self._cache.sessions.is_unreadable(raw["metadata"]["uid"]) for raw in found)
        return unreadable or self._cache.sessions.count("live-room", room.name) > 0

    async def _turn_away(self, room: RoomStart, refusal: Refuse) -> None:
        log.info("the room is refused", extra={"reason": refusal.reason})
        await self._rooms.turn_away(room, refusal, just_arrived=False)


def _room_there_was(session: VoiceSession) -> str | None:
    """Returns the room of a call in progress, unless it may still be to come: who makes one by hand need not wait."""
    there_was = session.spec.room_sid or session.status.room_sid or session.status.agent_joined_at
    return room_of(session) if there_was and not is_finished(session) else None


def _outcome(admission: Admission) -> str:
    match admission:
        case Admit():
            return LOST_WEBHOOK
        case Refuse():
            return "refused"
        case NotOurs(foreign):
            return "foreign" if foreign else "not-ours"
        case AlreadyServed(_, finished):
            return "left-over" if finished else "served"


def _outcome_of(error: LiveKitUnavailableError) -> str:
    if error.unresolved:
        return "unresolved"
    return "refused" if error.code else "unanswered"
