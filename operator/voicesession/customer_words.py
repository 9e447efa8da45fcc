"""What a customer is told of how a call stands. A status's message is for operators: it may name nodes and images."""

from voicesession.conditions import Reason
from voicesession.models import Phase

_FULL = "There was no free agent. Try again shortly."
_NOT_SET_UP = "This call cannot be served as it was asked for. Tell whoever runs this service."
_WORDS = {
    Reason.WAITING_FOR_POD: "An agent is being called.",
    Reason.NO_CAPACITY: _FULL,
    Reason.UNSCHEDULABLE: _FULL,
    Reason.QUOTA_EXCEEDED: _FULL,
    Reason.LIMIT_REACHED: "All places are taken. Try again shortly.",
    Reason.PROFILE_MISSING: _NOT_SET_UP,
    Reason.POOL_MISSING: _NOT_SET_UP,
    Reason.PROVIDER_MISSING: _NOT_SET_UP,
    Reason.CALL_ENDED: "The call has ended.",
    Reason.JOINED: "The agent is in the room.",
}
_FAILED = "The agent failed. Try again; if it happens again, tell whoever runs this service."

# With these a later call may well be served.
TRY_AGAIN = frozenset({Reason.NO_CAPACITY, Reason.UNSCHEDULABLE, Reason.QUOTA_EXCEEDED, Reason.LIMIT_REACHED})


def words_for_customer(reason: str | None, phase: Phase | None) -> str | None:
    """Returns what a customer is told of a VoiceSession, or None where there is nothing to say yet."""
    if reason in _WORDS:
        return _WORDS[Reason(reason)]
    return _FAILED if phase is Phase.FAILED else None
