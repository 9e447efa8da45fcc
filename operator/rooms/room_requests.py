"""A request of LiveKit's RoomService that an agent's code has made: which rooms it names, and how it is passed on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError
from livekit import api
from livekit.api.room_service import RoomService

# By method: its message, and what sends that.
_KINDS: Mapping[str, tuple[type[Any], str]] = {
    "RoomService/ListRooms": (api.ListRoomsRequest, "list_rooms"),
    "RoomService/ListParticipants": (api.ListParticipantsRequest, "list_participants"),
    "RoomService/GetParticipant": (api.RoomParticipantIdentity, "get_participant"),
    "RoomService/SendData": (api.SendDataRequest, "send_data"),
    "RoomService/UpdateRoomMetadata": (api.UpdateRoomMetadataRequest, "update_room_metadata"),
    "RoomService/UpdateParticipant": (api.UpdateParticipantRequest, "update_participant"),
    "RoomService/UpdateSubscriptions": (api.UpdateSubscriptionsRequest, "update_subscriptions"),
    "RoomService/MutePublishedTrack": (api.MuteRoomTrackRequest, "mute_published_track"),
    "RoomService/RemoveParticipant": (api.RoomParticipantIdentity, "remove_participant"),
}


class RoomRequestError(Exception):
    """What is no request of RoomService that could be passed on."""


@dataclass(frozen=True, slots=True)
class RoomRequest:
    """A request, read."""

    method: str
    message: Any  # the protobuf message of the method

    @property
    def rooms(self) -> list[str]:
        """Returns the names of all rooms that it is about; none: of every room."""
        return list(self.message.names) if isinstance(self.message, api.ListRoomsRequest) else [self.message.room]

    async def send(self, service: RoomService) -> bytes:
        """Sends it; returns LiveKit's answer as it was on the wire.

        Raises:
            livekit.api.ServerError: LiveKit refused.
            aiohttp.ClientError, TimeoutError, OSError: it did not answer.
        """
        answer: bytes = (await getattr(service, _KINDS[self.method][1])(self.message)).SerializeToString()
        return answer


def read_request(method: str, body: bytes) -> RoomRequest:
    """Returns a request, without what this release does not know of it: that would be passed on unchecked.

    Raises:
        RoomRequestError: there is no such method here, or the body is not its message.
    """
    if method not in _KINDS:
        raise RoomRequestError(f"{method} is not passed on")
    try:
        message = _KINDS[method][0].FromString(body)
    except DecodeError as error:
        raise RoomRequestError(f"the body is no message of {method}") from error
    message.DiscardUnknownFields()
    return RoomRequest(method, message)
