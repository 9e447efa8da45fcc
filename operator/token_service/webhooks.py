"""Reads what LiveKit signed: the events of its webhooks."""

from dataclasses import dataclass
from datetime import UTC, datetime

from livekit import api
from livekit.protocol.models import DisconnectReason
from livekit.protocol.webhook import WebhookEvent

from rooms.client import read_room
from voicesession.admission import RoomStart


class WebhookError(Exception):
    """A webhook that LiveKit did not send, or that is none."""


@dataclass(frozen=True)
class RoomEvent:
    """A webhook about a room. `identity`: the participant's, where it is about one who is no agent.

    `left_by`: why they are gone, by LiveKit's name of the reason; None where it does not say, or they are not.
    """

    kind: str
    room: RoomStart
    identity: str | None
    left_by: str | None
    by_phone: bool
    created_at: datetime


def read_webhook(key: str, secret: str, body: bytes, authorization: str) -> RoomEvent | None:
    """Returns a room's event; None for events of other things. `key`, `secret`: what LiveKit signs with.

    Raises:
        WebhookError: the signature is missing, forged, expired or another body's, or the body is no event.
    """
    receiver = api.WebhookReceiver(api.TokenVerifier(key, secret))
    try:
        event = receiver.receive(body.decode(), authorization.removeprefix("Bearer "))
        if not event.room.sid:
            return None
        at = datetime.fromtimestamp(event.created_at, UTC)
        left_by = _name_reason(event.participant.disconnect_reason)
        by_phone = event.participant.kind == api.ParticipantInfo.Kind.SIP
        return RoomEvent(event.event, read_room(event.room), _read_customer(event), left_by, by_phone, at)
    except Exception as error:  # the receiver raises bare exceptions; a time may be out of every calendar
        raise WebhookError(f"webhook refused: {type(error).__name__}") from error


def _name_reason(reason: int) -> str | None:
    # A newer LiveKit may have others.
    return DisconnectReason.Name(reason) if reason in DisconnectReason.values() else None


def _read_customer(event: WebhookEvent) -> str | None:
    participant = event.participant
    is_agent = participant.kind == api.ParticipantInfo.Kind.AGENT
    return participant.identity if participant.identity and not is_agent else None
