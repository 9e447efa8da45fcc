"""The only file that talks to LiveKit, signs its tokens and reads its webhooks."""

import asyncio
import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import jwt
from livekit import api
from livekit.protocol.models import Room
from livekit.protocol.webhook import WebhookEvent

from voicesession.admission import Refuse, RoomStart
from voicesession.customer_words import build_notice
from voicesession.models import EffectiveLimits
from voicesession.tickets import CallTicket

logger = logging.getLogger(__name__)

DATA_TOPIC = "voice-agent"
_TIMEOUT_SECONDS = 5.0
# Between a refused customer's arrival, the message and the end of the room: its data channel opens, the message leaves.
_OPENING_SECONDS = 0.3
_LEAVING_SECONDS = 0.2
# The room outlives the agent's own patience by this, so that the agent is the one who decides.
_MARGIN_SECONDS = 5
_CLOCK_SKEW = timedelta(seconds=60)


class LiveKitUnavailableError(Exception):
    """LiveKit did not answer, or with an error: whether the request took effect is unknown."""


class WebhookError(Exception):
    """A webhook that LiveKit did not send, or that is none."""


@dataclass(frozen=True)
class Customer:
    """Who a participant's token is for, and how the room behaves. `max_participants` 0: no limit."""

    room: str
    identity: str
    name: str = ""
    metadata: str = ""
    attributes: dict[str, str] | None = None
    max_participants: int = 0


@dataclass(frozen=True)
class Pass:
    """What a participant's own signed token says. `ticket`: the room metadata it carries."""

    room: str
    identity: str
    expired_at: datetime
    ticket: str


@dataclass(frozen=True)
class RoomEvent:
    """A webhook about a room. `identity`: the participant's, where it is about one who is no agent."""

    kind: str
    room: RoomStart
    identity: str | None
    created_at: datetime


class LiveKit:
    """LiveKit's server. Methods that ask it may raise LiveKitUnavailableError."""

    def __init__(self, url: str, key: str, secret: str) -> None:
        """Opens no connection yet; needs a running event loop."""
        self._key = key
        self._secret = secret
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
        self._api = api.LiveKitAPI(url, key, secret, timeout=timeout, failover=False)
        self._receiver = api.WebhookReceiver(api.TokenVerifier(key, secret))

    async def close(self) -> None:
        """Closes all connections."""
        await self._api.aclose()

    def sign_customer_token(
        self, customer: Customer, ticket: CallTicket, limits: EffectiveLimits, lifetime_seconds: int
    ) -> str:
        """Returns a token for one customer and one room, which carries the ticket as the room's metadata."""
        grants = api.VideoGrants(
            room_join=True,
            room=customer.room,
            can_publish=True,
            can_publish_sources=["microphone"],
            can_subscribe=True,
            can_publish_data=True,
        )
        token = api.AccessToken(self._key, self._secret).with_identity(customer.identity).with_grants(grants)
        token = token.with_name(customer.name).with_metadata(customer.metadata)
        if customer.attributes:
            token = token.with_attributes(customer.attributes)
        config = api.RoomConfiguration(
            metadata=ticket.model_dump_json(by_alias=True, exclude_none=True),
            empty_timeout=limits.join_timeout_seconds + _MARGIN_SECONDS,
            departure_timeout=limits.reconnect_grace_seconds + _MARGIN_SECONDS,
            max_participants=customer.max_participants,
        )
        return token.with_room_config(config).with_ttl(timedelta(seconds=lifetime_seconds)).to_jwt()

    def read_pass(self, token: str) -> Pass | None:
        """Returns what a customer's token says, also when it has expired; None for any other token."""
        options: Any = {"require": ["exp", "sub"], "verify_exp": False}
        try:
            claims = jwt.decode(
                token, self._secret, ["HS256"], options, issuer=self._key, leeway=_CLOCK_SKEW.total_seconds()
            )
            grants = claims.get("video") or {}
            if not grants.get("roomJoin") or not grants.get("room") or claims.get("kind") == "agent":
                return None
            ticket = (claims.get("roomConfig") or {}).get("metadata", "")
            return Pass(grants["room"], claims["sub"], datetime.fromtimestamp(claims["exp"], UTC), ticket)
        except (jwt.PyJWTError, ValueError, TypeError, AttributeError, OverflowError):
            return None

    def read_webhook(self, body: bytes, authorization: str) -> RoomEvent | None:
        """Returns a room's event; None for events of other things.

        Raises:
            WebhookError: the signature is missing, forged, expired or another body's, or the body is no event.
        """
        try:
            event = self._receiver.receive(body.decode(), authorization.removeprefix("Bearer "))
            if not event.room.sid:
                return None
            return RoomEvent(event.event, _read_room(event.room), _read_customer(event), _read_time(event.created_at))
        except Exception as error:  # the receiver raises bare exceptions; a time may be out of every calendar
            raise WebhookError(f"webhook refused: {type(error).__name__}") from error

    async def find_room(self, name: str) -> RoomStart | None:
        """Returns the room of this name as LiveKit has it now, or None."""
        answer = await self._ask(self._api.room.list_rooms(api.ListRoomsRequest(names=[name])))
        return next((_read_room(room) for room in answer.rooms if room.name == name), None)

    async def create_room(
        self, name: str, ticket: CallTicket, limits: EffectiveLimits, max_participants: int
    ) -> RoomStart:
        """Creates a room with this ticket, or returns the one of this name that there is, with its own ticket."""
        request = api.CreateRoomRequest(
            name=name,
            metadata=ticket.model_dump_json(by_alias=True, exclude_none=True),
            empty_timeout=limits.join_timeout_seconds + _MARGIN_SECONDS,
            departure_timeout=limits.reconnect_grace_seconds + _MARGIN_SECONDS,
            max_participants=max_participants,
        )
        return _read_room(await self._ask(self._api.room.create_room(request)))

    async def delete_room(self, name: str) -> None:
        """Deletes a room, unless there is none."""
        try:
            await self._ask(self._api.room.delete_room(api.DeleteRoomRequest(room=name)))
        except _RoomMissingError:
            return

    async def turn_away(self, room: str, refusal: Refuse) -> None:
        """Tells the room's customer why there will be no agent, then deletes the room."""
        request = api.SendDataRequest(
            room=room,
            data=json.dumps(build_notice(refusal.reason, refusal.message)).encode(),
            kind=api.DataPacket.Kind.RELIABLE,
            topic=DATA_TOPIC,
        )
        await asyncio.sleep(_OPENING_SECONDS)
        try:
            await self._ask(self._api.room.send_data(request))
        except _RoomMissingError:
            return
        await asyncio.sleep(_LEAVING_SECONDS)
        await self.delete_room(room)

    async def _ask(self, request: Any) -> Any:
        try:
            return await request
        except api.ServerError as error:
            if error.code == api.ServerErrorCode.NOT_FOUND:
                raise _RoomMissingError(str(error)) from error
            raise LiveKitUnavailableError(str(error)) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise LiveKitUnavailableError(f"{type(error).__name__}: {error}") from error


class _RoomMissingError(Exception):
    """LiveKit has no such room."""


def _read_room(room: Room) -> RoomStart:
    created_at = room.creation_time_ms / 1000 if room.creation_time_ms else room.creation_time
    return RoomStart(room.name, room.sid, _read_time(created_at), room.metadata)


def _read_customer(event: WebhookEvent) -> str | None:
    participant = event.participant
    is_agent = participant.kind == api.ParticipantInfo.Kind.AGENT
    return participant.identity if participant.identity and not is_agent else None


def _read_time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
