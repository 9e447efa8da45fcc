"""The only file of the operator that talks to LiveKit's server API."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import aiohttp
from livekit import api

from voice_operator.settings import OperatorSettings
from voicesession.models import EffectiveLimits
from voicesession.names import AGENT_IDENTITY

TOPIC = "voice-agent"
_TIMEOUT_SECONDS = 5.0
# Deleting a room drops what is on its way to its participants.
_DELIVERY_SECONDS = 0.3


class LiveKitUnavailableError(Exception):
    """LiveKit did not answer, or refused; the message says which."""


@dataclass(frozen=True, slots=True)
class Room:
    """A room as LiveKit lists it."""

    name: str
    sid: str
    metadata: str
    created_at: datetime


class LiveKitRooms:
    """Rooms: create, list, close, and tell their participants."""

    def __init__(self, settings: OperatorSettings) -> None:
        self._api = api.LiveKitAPI(
            settings.livekit_url,
            settings.livekit_api_key,
            settings.livekit_api_secret.get_secret_value(),
            timeout=aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS),
        )

    async def close(self) -> None:
        """Closes all connections."""
        await self._api.aclose()

    async def create(self, name: str, metadata: str, limits: EffectiveLimits) -> Room:
        """Creates a room, or returns the one of this name.

        Raises:
            LiveKitUnavailableError
        """
        request = api.CreateRoomRequest(
            name=name,
            metadata=metadata,
            empty_timeout=limits.join_timeout_seconds + 5,
            departure_timeout=limits.reconnect_grace_seconds + 5,
        )
        try:
            return _to_room(await self._api.room.create_room(request))
        except (api.ServerError, aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unavailable("creating a room", error) from error

    async def list(self, names: Sequence[str] = ()) -> list[Room]:
        """Returns the rooms of these names; all rooms where none is given.

        Raises:
            LiveKitUnavailableError
        """
        try:
            answer = await self._api.room.list_rooms(api.ListRoomsRequest(names=names))
        except (api.ServerError, aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unavailable("listing rooms", error) from error
        return [_to_room(room) for room in answer.rooms]

    async def delete(self, name: str, sid: str | None) -> None:
        """Deletes a room. With a sid: only this start of it, not a later one of the same name.

        Raises:
            LiveKitUnavailableError
        """
        if sid and not any(room.sid == sid for room in await self.list([name])):
            return
        try:
            await self._api.room.delete_room(api.DeleteRoomRequest(room=name))
        except api.ServerError as error:
            if error.code != api.ServerErrorCode.NOT_FOUND:
                raise _unavailable("deleting a room", error) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unavailable("deleting a room", error) from error

    async def tell(self, name: str, message: dict[str, object]) -> None:
        """Sends a data message to a room's participants, and waits until it can have reached them.

        Raises:
            LiveKitUnavailableError
        """
        request = api.SendDataRequest(
            room=name, data=json.dumps(message).encode(), kind=api.DataPacket.Kind.RELIABLE, topic=TOPIC
        )
        try:
            await self._api.room.send_data(request)
        except api.ServerError as error:
            if error.code != api.ServerErrorCode.NOT_FOUND:
                raise _unavailable("sending a message to a room", error) from error
            return
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unavailable("sending a message to a room", error) from error
        await asyncio.sleep(_DELIVERY_SECONDS)

    async def has_agent(self, name: str) -> bool:
        """Tells whether LiveKit sees an agent in this room.

        Raises:
            LiveKitUnavailableError
        """
        request = api.ListParticipantsRequest(room=name)
        try:
            answer = await self._api.room.list_participants(request)
        except api.ServerError as error:
            if error.code == api.ServerErrorCode.NOT_FOUND:
                return False
            raise _unavailable("listing participants", error) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unavailable("listing participants", error) from error
        return any(participant.identity == AGENT_IDENTITY for participant in answer.participants)


def _to_room(room: api.Room) -> Room:
    return Room(room.name, room.sid, room.metadata, datetime.fromtimestamp(room.creation_time, UTC))


def _unavailable(what: str, error: Exception) -> LiveKitUnavailableError:
    return LiveKitUnavailableError(f"{what}: {type(error).__name__}: {error}")
