"""What a customer is told of how a call stands. A status's message is for operators: it may name nodes and images."""

from enum import StrEnum

from voicesession.conditions import Reason
from voicesession.models import Phase


class RefusalReason(StrEnum):
    """Why a started room gets no agent; `reason` of the data message its customer gets."""

    TICKET_EXPIRED = "ticket-expired"
    ROOM_TOO_OLD = "room-too-old"
    TOO_MANY_STARTS = "too-many-starts"
    PROFILE_MISSING = "profile-missing"
    PROFILE_FULL = "profile-full"
    TENANT_FULL = "tenant-full"
    CALL_GONE = "call-gone"
    REJECTED = "rejected"


NOT_SET_UP = "This call cannot be served as it was asked for. Tell whoever runs this service."
_FULL = "There was no free agent. Try again shortly."
_WORDS = {
    Reason.WAITING_FOR_POD: "An agent is being called.",
    Reason.NO_CAPACITY: _FULL,
    Reason.UNSCHEDULABLE: _FULL,
    Reason.POD_SANDBOX_FAILED: _FULL,
    Reason.QUOTA_EXCEEDED: _FULL,
    Reason.LIMIT_REACHED: "All places are taken. Try again shortly.",
    Reason.PROFILE_MISSING: NOT_SET_UP,
    Reason.POOL_MISSING: NOT_SET_UP,
    Reason.PROVIDER_MISSING: NOT_SET_UP,
    Reason.CALL_ENDED: "The call has ended.",
    Reason.CUSTOMER_GONE: "The call has ended.",
    Reason.JOINED: "The agent is in the room.",
}
_RECOVERING = "The agent was lost. Another one takes over; it knows what was said."
_FAILED = "The agent failed. Try again; if it happens again, tell whoever runs this service."

_RETRY_AFTER_SECONDS = 15
# With these a later call may well be served; no wait mends what is missing, or a ticket that was used up.
_PASSING = {
    Reason.NO_CAPACITY,
    Reason.UNSCHEDULABLE,
    Reason.POD_SANDBOX_FAILED,
    Reason.QUOTA_EXCEEDED,
    Reason.LIMIT_REACHED,
    RefusalReason.PROFILE_FULL,
    RefusalReason.TENANT_FULL,
}
# The call was asked for in vain; all other reasons for which no agent comes are for want of a pod.
_REFUSED = {
    Reason.LIMIT_REACHED,
    Reason.PROFILE_MISSING,
    Reason.POOL_MISSING,
    Reason.PROVIDER_MISSING,
    *RefusalReason,
}
# The agent was lost, and there will be no other.
_LOST = {
    Reason.OUT_OF_MEMORY,
    Reason.AGENT_CRASHED,
    Reason.AGENT_HUNG,
    Reason.POD_DELETED,
    Reason.EVICTED,
    Reason.NODE_LOST,
}


def words_for_customer(reason: str | None, phase: Phase | None) -> str | None:
    """Returns what a customer is told of a VoiceSession, or None where there is nothing to say yet."""
    if phase is Phase.RECOVERING:
        return _RECOVERING
    if reason in _WORDS:
        return _WORDS[Reason(reason)]
    return _FAILED if phase is Phase.FAILED else None


def retry_after(reason: str | None) -> int | None:
    """Returns after how many seconds another call may be served, or None where waiting brings nothing.

    `reason`: of a refusal, or of a VoiceSession's status.
    """
    return _RETRY_AFTER_SECONDS if reason in _PASSING else None


def build_notice(reason: Reason | RefusalReason, message: str | None) -> dict[str, object]:
    """Returns the data message by which the customer in a room is told that no agent, or no other, will come."""
    kind = "error" if reason in _LOST else "refused" if reason in _REFUSED else "no-capacity"
    notice: dict[str, object] = {"type": kind, "reason": reason.value, "message": message}
    seconds = retry_after(reason)
    return notice if seconds is None else {**notice, "retryAfterSeconds": seconds}
