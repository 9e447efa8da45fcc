"""LiveKit's tokens: signs the customer's and the agent's, reads a customer's own. Asks nobody."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from livekit import api

from rooms.options import build_options
from voicesession.models import EffectiveLimits
from voicesession.names import AGENT_IDENTITY

_AGENT_LIFETIME = timedelta(seconds=60)
_CLOCK_SKEW = timedelta(seconds=60)
# Not "listening": it does not yet.
_AT_WORK = {"lk.agent.state": "thinking"}


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
    """What a participant's own signed token says."""

    room: str
    identity: str
    expired_at: datetime
    room_metadata: str


@dataclass(frozen=True)
class RoomTokens:
    """Tokens under one of LiveKit's API keys."""

    key: str
    secret: str = field(repr=False)

    def sign_customer(
        self, customer: Customer, room_metadata: str, limits: EffectiveLimits, lifetime_seconds: int
    ) -> str:
        """Returns a token for one customer and one room, which carries the room's metadata: its signed ticket."""
        grants = api.VideoGrants(
            room_join=True,
            room=customer.room,
            can_publish=True,
            can_publish_sources=["microphone"],
            can_subscribe=True,
            can_publish_data=True,
        )
        token = api.AccessToken(self.key, self.secret).with_identity(customer.identity).with_grants(grants)
        token = token.with_name(customer.name).with_metadata(customer.metadata)
        if customer.attributes:
            token = token.with_attributes(customer.attributes)
        config = api.RoomConfiguration(**build_options(room_metadata, limits, customer.max_participants))
        return token.with_room_config(config).with_ttl(timedelta(seconds=lifetime_seconds)).to_jwt()

    def sign_agent(self, room: str, display_name: str | None, *, follows: bool = False) -> str:
        """Returns a token by which an agent, and only as the agent, may join this one room within 60 s.

        `follows`: after another one, and so it is seen at work before it tells its state. LiveKit's hooks give
        a call up whose agent is not at work just when they look, which is once, 20 s after the start.
        """
        grants = api.VideoGrants(room_join=True, room=room, agent=True, can_update_own_metadata=True)
        token = api.AccessToken(self.key, self.secret).with_identity(AGENT_IDENTITY).with_kind("agent")
        if display_name:
            token = token.with_name(display_name)
        if follows:
            token = token.with_attributes(_AT_WORK)
        return token.with_grants(grants).with_ttl(_AGENT_LIFETIME).to_jwt()

    def read_pass(self, token: str) -> Pass | None:
        """Returns what a customer's token says, also when it has expired; None for any other token."""
        options: Any = {"require": ["exp", "sub"], "verify_exp": False}
        leeway = _CLOCK_SKEW.total_seconds()
        try:
            claims = jwt.decode(token, self.secret, ["HS256"], options, issuer=self.key, leeway=leeway)
            grants = claims.get("video") or {}
            if not grants.get("roomJoin") or not grants.get("room") or claims.get("kind") == "agent":
                return None
            metadata = (claims.get("roomConfig") or {}).get("metadata", "")
            return Pass(grants["room"], claims["sub"], datetime.fromtimestamp(claims["exp"], UTC), metadata)
        except (jwt.PyJWTError, ValueError, TypeError, AttributeError, OverflowError):
            return None
