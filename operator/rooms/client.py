"""Asks LiveKit's server: rooms made, listed and deleted, their participants told something, or turned away."""

import asyncio
import json
from collections.abc import Awaitable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import aiohttp
from livekit import api
from livekit.protocol.models import Room

from rooms.options import build_options
from rooms.room_requests import RoomRequest
from voicesession.admission import Refuse, RoomStart
from voicesession.customer_words import build_notice
from voicesession.models import EffectiveLimits
from voicesession.names import AGENT_IDENTITY, DATA_TOPIC
from voicesession.server_api import MOST_ANSWER_BYTES, ApiRefusal
from voicesession.tickets import LEFT_TO_PEOPLE

T = TypeVar("T")

_NOT_FOUND = api.ServerErrorCode.NOT_FOUND
_NO_PEOPLE = {api.ParticipantInfo.Kind.AGENT, api.ParticipantInfo.Kind.EGRESS, api.ParticipantInfo.Kind.INGRESS}
_TIMEOUT_SECONDS = 5.0
# A customer who has just arrived hears nothing before their data channel is open.
_OPENING_SECONDS = 0.3
# Deleting a room drops what is on its way to its participants.
_DELIVERY_SECONDS = 0.3


class LiveKitUnavailableError(Exception):
    """LiveKit did not answer, or refused: whether the request took effect is unknown. The message says which.

    `code`: LiveKit's word for the error; None where it did not answer. `unresolved`: nobody knows its name.
    """

    def __init__(self, message: str, code: str | None = None, *, unresolved: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.unresolved = unresolved


class RoomClient:
    """LiveKit's rooms. Every method but `close` and `pass_on` may raise LiveKitUnavailableError."""

    def __init__(
        self, url: str, key: str, secret: str, request_class: type[aiohttp.ClientRequest] = aiohttp.ClientRequest
    ) -> None:
        """Opens no connection yet; needs a running event loop. `request_class`: what aiohttp sends requests by."""
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
        self._http = aiohttp.ClientSession(timeout=timeout, request_class=request_class)
        # With its failover, LiveKit Cloud would be asked three times before anybody hears that it does not answer.
        self._api = api.LiveKitAPI(url, key, secret, session=self._http, failover=False)

    async def close(self) -> None:
        """Closes all connections."""
        await self._http.close()

    async def create(self, name: str, metadata: str, limits: EffectiveLimits, max_participants: int = 0) -> RoomStart:
        """Creates a room with this signed ticket, or returns the one of this name that there is, with its own.

        `max_participants`: without the agent; 0 is no limit.
        """
        request = api.CreateRoomRequest(name=name, **build_options(metadata, limits, max_participants))
        return read_room(await _ask("creating a room", self._api.room.create_room(request)))

    async def list(self, names: Sequence[str] = ()) -> list[RoomStart]:
        """Returns the rooms of these names that there are; all rooms where none is given."""
        request = api.ListRoomsRequest(names=names)
        answer = await _ask("listing rooms", self._api.room.list_rooms(request))
        return [read_room(room) for room in answer.rooms]

    async def find(self, name: str) -> RoomStart | None:
        """Returns the room of this name as LiveKit has it now, or None."""
        return next(iter(await self.list([name])), None)

    async def delete(self, name: str, sid: str | None = None) -> None:
        """Deletes a room, unless there is none. With a sid: only this start of it, not a later one of the same name."""
        if sid and not any(room.sid == sid for room in await self.list([name])):
            return
        try:
            await _ask("deleting a room", self._api.room.delete_room(api.DeleteRoomRequest(room=name)))
        except LiveKitUnavailableError as error:
            if error.code != _NOT_FOUND:
                raise

    async def delete_or_leave(self, name: str, sid: str | None = None) -> bool:
        """Deletes a room as `delete` does, but one that several people are in is left to them; returns whether it was.

        They have each other. LiveKit closes it when the last one is gone.
        """
        room = await self.find(name)
        if room is None or (sid and room.sid != sid):
            return False
        if room.metadata != LEFT_TO_PEOPLE:
            if not await self.is_company(name):
                await self.delete(name, sid)
                return False
            request = api.UpdateRoomMetadataRequest(room=name, metadata=LEFT_TO_PEOPLE)
            await _ask("leaving a room", self._api.room.update_room_metadata(request))
        return True

    async def tell(self, name: str, message: Mapping[str, object]) -> None:
        """Sends a data message to a room's participants, if there are any; waits until it can have reached them."""
        request = api.SendDataRequest(
            room=name, data=json.dumps(message).encode(), kind=api.DataPacket.Kind.RELIABLE, topic=DATA_TOPIC
        )
        try:
            await _ask("sending a message to a room", self._api.room.send_data(request))
        except LiveKitUnavailableError as error:
            # Of a room that it lacks, LiveKit says not that, but that no server of its own answers.
            if error.code is None or await self.find(name):
                raise
            return
        await asyncio.sleep(_DELIVERY_SECONDS)

    async def turn_away(self, room: RoomStart, refusal: Refuse, *, just_arrived: bool) -> None:
        """Tells the customer of this start of a room why there will be no agent, then deletes the room.

        `just_arrived`: the customer is only now coming in.
        """
        if just_arrived:
            await asyncio.sleep(_OPENING_SECONDS)
        await self.tell(room.name, build_notice(refusal.reason, refusal.message))
        await self.delete(room.name, room.sid)

    async def has_agent(self, name: str) -> bool:
        """Tells whether LiveKit sees an agent in this room."""
        return any(participant.identity == AGENT_IDENTITY for participant in await self._participants(name))

    async def people(self, name: str) -> set[str]:
        """Returns the identities of those in this room who can talk with each other: none of a room that is not there.

        Agents are no people, nor is who only records, sends a stream or listens unseen.
        """
        return {each.identity for each in await self._participants(name) if _is_person(each)}

    async def is_company(self, name: str) -> bool:
        """Tells whether there are people in this room who have each other to talk with."""
        return len(await self.people(name)) > 1

    async def pass_on(self, request: RoomRequest) -> bytes | ApiRefusal:
        """Asks LiveKit for what an agent's code has asked; returns what it answers, and where it does not, that."""
        try:
            answer = await request.send(self._api.room)
        except api.ServerError as error:
            return ApiRefusal(code=error.code, status=error.status, message=error.message, metadata=error.metadata)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return ApiRefusal(
                code="unavailable", status=503, message=f"LiveKit does not answer: {type(error).__name__}."
            )
        if len(answer) > MOST_ANSWER_BYTES:
            words = f"LiveKit's answer is longer than {MOST_ANSWER_BYTES} bytes."
            return ApiRefusal(code="resource_exhausted", status=429, message=words)
        return answer

    async def _participants(self, name: str) -> Sequence[api.ParticipantInfo]:
        request = api.ListParticipantsRequest(room=name)
        try:
            answer = await _ask("listing participants", self._api.room.list_participants(request))
        except LiveKitUnavailableError as error:
            if error.code != _NOT_FOUND:
                raise
            return []
        return list(answer.participants)


def read_room(room: Room) -> RoomStart:
    """Returns a room as LiveKit's messages have it; the time of its start by the millisecond where they tell it."""
    created_at = room.creation_time_ms / 1000 if room.creation_time_ms else room.creation_time
    return RoomStart(room.name, room.sid, datetime.fromtimestamp(created_at, UTC), room.metadata)


def _is_person(participant: api.ParticipantInfo) -> bool:
    is_there = participant.state != api.ParticipantInfo.State.DISCONNECTED
    is_seen = not (participant.permission.hidden or participant.permission.recorder)
    return is_there and is_seen and participant.kind not in _NO_PEOPLE


async def _ask(what: str, request: Awaitable[T]) -> T:
    try:
        return await request
    except api.ServerError as error:
        raise LiveKitUnavailableError(f"{what}: {error}", error.code) from error
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        unresolved = isinstance(error, aiohttp.ClientConnectorDNSError)
        raise LiveKitUnavailableError(f"{what}: {type(error).__name__}: {error}", unresolved=unresolved) from error
