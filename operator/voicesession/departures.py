"""How long somebody who is gone from a room may take to come back, by the name of LiveKit's reason. Pure.

By their names, because the control plane and the agents have them in enums of different packages.
"""

from voicesession.models import EffectiveLimits

# An app that is started anew, a page that is reloaded, a component that is mounted twice leave as who hangs up does.
_ON_PURPOSE = frozenset({"CLIENT_INITIATED"})
# Who declined the call, or was put out of the room, is not waited for.
_FOR_GOOD = frozenset({"USER_REJECTED", "PARTICIPANT_REMOVED"})


def seems_to_have_left(reason: str | None) -> bool:
    """Tells whether this is no lost connection."""
    return reason in _ON_PURPOSE or reason in _FOR_GOOD


def seconds_to_return(reason: str | None, limits: EffectiveLimits, *, by_phone: bool = False) -> int:
    """Returns for how many seconds a call waits for its customer who is gone for this reason.

    Who has hung up a telephone comes back by another call, to another room.
    """
    if reason in _FOR_GOOD or (by_phone and reason in _ON_PURPOSE):
        return 0
    return limits.return_grace_seconds if reason in _ON_PURPOSE else limits.reconnect_grace_seconds
