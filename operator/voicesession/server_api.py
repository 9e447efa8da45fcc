"""What an agent's code may ask of LiveKit's server API: of its call's own room, by its profile's `permissions`. Pure.

A method is named as in the path of LiveKit's HTTP API: its service, a slash, its name.
"""

from collections.abc import Collection, Mapping, Sequence

from pydantic import Field

from voicesession.models import Model, Permission

# A request travels in a line of the pod's events, in Base64; nobody reads lines of more than 128 KiB.
MOST_REQUEST_BYTES = 64 * 1024
MOST_ANSWER_BYTES = 256 * 1024
# Of one pod at a time; the next ones wait in it.
MOST_AT_ONCE = 8

# The way in which a call ends is its agent's, whatever its profile permits.
DELETE_ROOM = "RoomService/DeleteRoom"

PERMISSIONS: Mapping[str, Permission] = {
    "RoomService/ListRooms": Permission.READ_ROOM,
    "RoomService/ListParticipants": Permission.READ_ROOM,
    "RoomService/GetParticipant": Permission.READ_ROOM,
    "RoomService/SendData": Permission.SEND_DATA,
    "RoomService/UpdateRoomMetadata": Permission.UPDATE_ROOM,
    "RoomService/UpdateParticipant": Permission.UPDATE_PARTICIPANTS,
    "RoomService/UpdateSubscriptions": Permission.UPDATE_PARTICIPANTS,
    "RoomService/MutePublishedTrack": Permission.MUTE_PARTICIPANTS,
    "RoomService/RemoveParticipant": Permission.REMOVE_PARTICIPANTS,
}

_OWN_SERVICE = "a service of your own that holds LiveKit's API key"
# By service: what to do in place of a method that nobody is served.
_INSTEAD = {
    "RoomService": f"An agent has its call's own room alone: have other rooms made by {_OWN_SERVICE}.",
    "Egress": f"Have {_OWN_SERVICE} record, and tell it ctx.room.name.",
    "SIP": f"Have {_OWN_SERVICE} dial or transfer, and tell it ctx.room.name and the participant's identity.",
    "AgentDispatchService": "An agent is asked for at the token service, by the name of its AgentProfile.",
}


class ApiRefusal(Model):
    """What comes in place of an answer, as LiveKit would tell it. `code`: its word for the error; `status`: HTTP's."""

    code: str = "permission_denied"
    status: int = 403
    message: str
    metadata: dict[str, str] = Field(default_factory=dict)


def refuse_method(method: str) -> ApiRefusal | None:
    """Returns why no agent is served this method; None where its profile may permit it."""
    if method in PERMISSIONS:
        return None
    instead = _INSTEAD.get(method.partition("/")[0], f"Have {_OWN_SERVICE} ask it.")
    return ApiRefusal(message=f"{method} is not served to agent pods, which hold no LiveKit key. {instead}")


def refuse_rooms(named: Sequence[str], own: str) -> ApiRefusal | None:
    """Returns why a request that names these rooms is refused; None where that is the call's own room, and no other."""
    if list(named) == [own]:
        return None
    others = ", ".join(repr(room) for room in named) or "all rooms"
    return ApiRefusal(
        message=f"An agent can ask for its call's own room, {own!r}, and not for {others}. Have {_OWN_SERVICE} ask it."
    )


def decide_request(
    method: str, named: Sequence[str], own: str | None, profile: str, permissions: Collection[Permission]
) -> ApiRefusal | None:
    """Returns why a request is refused, or None where it is to be done.

    `named`: the rooms that it names. `own`: the room of the call; None when that is over. `permissions`: those of the
    call's profile, which has the name `profile`.
    """
    if refusal := refuse_method(method):
        return refusal
    if own is None:
        return ApiRefusal(
            code="not_found", status=404, message="The call is over: its room is not the agent's any more."
        )
    if refusal := refuse_rooms(named, own):
        return refusal
    wanted = PERMISSIONS[method]
    if wanted in permissions:
        return None
    return ApiRefusal(
        message=f"AgentProfile {profile!r} does not permit {method}: add {wanted.value} to its `spec.permissions`."
    )
