"""How a call's room is set up, whether a request makes it or the token of the first to come in. Pure."""

from typing import Any

from voicesession.models import EffectiveLimits
from voicesession.tickets import CallTicket

# The room outlives the agent's own patience by this, so that the agent is the one who decides.
_MARGIN_SECONDS = 5


def build_options(ticket: CallTicket, limits: EffectiveLimits, max_participants: int) -> dict[str, Any]:
    """Returns the fields that LiveKit's CreateRoomRequest and RoomConfiguration share; time-outs in seconds."""
    return {
        "metadata": ticket.model_dump_json(by_alias=True, exclude_none=True),
        "empty_timeout": limits.join_timeout_seconds + _MARGIN_SECONDS,
        "departure_timeout": limits.reconnect_grace_seconds + _MARGIN_SECONDS,
        "max_participants": max_participants,
    }
