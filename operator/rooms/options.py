"""How a call's room is set up, whether a request makes it or the token of the first to come in. Pure."""

from typing import Any

from voicesession.models import EffectiveLimits

# The room outlives the agent's own patience by this, so that the agent is the one who decides.
_MARGIN_SECONDS = 5


def build_options(metadata: str, limits: EffectiveLimits, max_participants: int) -> dict[str, Any]:
    """Returns the fields that LiveKit's CreateRoomRequest and RoomConfiguration share; time-outs in seconds."""
    longest_absence = max(limits.reconnect_grace_seconds, limits.return_grace_seconds)
    return {
        "metadata": metadata,
        "empty_timeout": limits.join_timeout_seconds + _MARGIN_SECONDS,
        "departure_timeout": longest_absence + _MARGIN_SECONDS,
        "max_participants": max_participants,
    }
