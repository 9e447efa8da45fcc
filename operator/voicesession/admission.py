"""Whether a started room gets an agent: one pure decision, for the webhook and for the operator's poll of the rooms."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Protocol

from voicesession.customer_words import NOT_SET_UP, RefusalReason, retry_after
from voicesession.models import AgentProfile, Phase, VoiceSession
from voicesession.names import (
    API_VERSION,
    CALL_LABEL,
    PROFILE_LABEL,
    ROOM_HASH_LABEL,
    TENANT_LABEL,
    TRACEPARENT_ANNOTATION,
    is_valid_room,
    short_hash,
    voice_session_name,
)
from voicesession.tickets import LEFT_TO_PEOPLE, CallTicket, ForeignTicketError, TicketError, TicketKey

# A room whose VoiceSession is made beside it may start this long before that VoiceSession is seen.
_CREATION_GRACE = timedelta(seconds=30)
_LABEL_LENGTH = 63
# What is said of a start long after its time: where its call is in progress, it is only that nobody told us.
_OF_ROOMS_WITHOUT_A_CALL = (RefusalReason.TICKET_EXPIRED, RefusalReason.ROOM_TOO_OLD, RefusalReason.CALL_GONE)
_FINISHED = (Phase.ENDED, Phase.FAILED)
_WAITING = (None, Phase.PENDING, Phase.STARTING, Phase.RECOVERING)


@dataclass(frozen=True)
class RoomStart:
    """A room as LiveKit tells it, by webhook or list. `created_at` is when this sid started."""

    name: str
    sid: str
    created_at: datetime
    metadata: str


@dataclass(frozen=True)
class AdmissionLimits:
    """What binds every start of a room.

    max_ticket_age: from the ticket's issue to the room's start. LiveKit refreshes the tokens of connected customers,
        and a refreshed one restarts a room for ten minutes with the same ticket.
    max_room_wait: from the room's start to its admission; it is long only while the API server is away.
    """

    max_ticket_age: timedelta = timedelta(seconds=120)
    max_starts_per_call: int = 3
    tenant_max_sessions: int | None = None
    max_room_wait: timedelta = timedelta(seconds=180)

    def kept_after_finish(self, voice_session: VoiceSession, ttl_seconds: int) -> timedelta:
        """Returns how long a finished VoiceSession is kept: its ttl, and those of rooms until no start needs counting.

        Every start of a call lies between its ticket's issue and ticket age + room wait later, so a VoiceSession that
        outlives that is there to be counted, and the one of a sid is there while the sid could be admitted.
        """
        ttl = timedelta(seconds=ttl_seconds)
        if CALL_LABEL not in voice_session.metadata.labels:
            return ttl
        return max(ttl, self.max_ticket_age + self.max_room_wait)


@dataclass(frozen=True)
class Admit:
    """The room gets an agent: create this VoiceSession. On 409, compare `spec.roomSid`."""

    voice_session_body: dict[str, Any]


@dataclass(frozen=True)
class Refuse:
    """The room gets no agent: tell its customer why, then delete it."""

    reason: RefusalReason
    message: str

    @property
    def may_be_unseen(self) -> bool:
        """Tells whether this would be wrong of a room whose call is in progress, and just not seen here yet."""
        return self.reason in _OF_ROOMS_WITHOUT_A_CALL

    @property
    def retry_after(self) -> int | None:
        """Returns after how many seconds another start may be admitted, or None where waiting brings nothing."""
        return retry_after(self.reason)


# Of a call whose VoiceSession the API server does not take: an admission policy or a quota of the platform's own.
REJECTED = Refuse(RefusalReason.REJECTED, NOT_SET_UP)


@dataclass(frozen=True)
class NotOurs:
    """The room is somebody else's business, or will be served by a VoiceSession that is just being made.

    `foreign`: it has a call ticket, of another installation on this LiveKit, or of nobody.
    """

    foreign: bool = False


@dataclass(frozen=True)
class AlreadyServed:
    """The room has its VoiceSession. `finished`: its call is over, so the room can be closed."""

    name: str
    finished: bool


Admission = Admit | Refuse | NotOurs | AlreadyServed


def is_finished(voice_session: VoiceSession) -> bool:
    """Tells whether this call is over and no longer counts as one in progress."""
    return voice_session.status.phase in _FINISHED


def is_waiting(voice_session: VoiceSession) -> bool:
    """Tells whether this call's customer still waits for an agent to be in the room."""
    return voice_session.status.phase in _WAITING


def may_leave_room_to_people(voice_session: VoiceSession) -> bool:
    """Tells whether people who have each other may keep this call's room: its agent was there, and nobody ended it all.

    A human may have taken over. `spec.end`, or the VoiceSession's deletion, ends the call for everybody in it.
    """
    is_wanted = voice_session.spec.end or voice_session.metadata.deletion_timestamp is not None
    return voice_session.status.agent_joined_at is not None and not is_wanted


def is_start_of(voice_session: VoiceSession, room_sid: str) -> bool:
    """Tells whether this start of a room is the one that the call is in, or was."""
    sids = {voice_session.spec.room_sid, voice_session.status.room_sid}
    return room_sid in sids or voice_session.metadata.name == voice_session_name(room_sid)


class Sessions(Protocol):
    """All VoiceSessions of the namespace, the finished ones included; a `kube.store.Store` with SESSION_INDEXES."""

    def get(self, name: str) -> VoiceSession | None:
        """Returns the one of this name, or None."""

    def by(self, index: str, key: str) -> list[VoiceSession]:
        """Returns those for which this index says `key`."""

    def count(self, index: str, key: str) -> int:
        """Returns how many there are of them."""


def room_of(voice_session: VoiceSession) -> str | None:
    """Returns the name of this call's room; None where the operator is still to make it."""
    return voice_session.spec.room or voice_session.status.room


def _tenant_of(voice_session: VoiceSession) -> str:
    return voice_session.spec.tenant or ""


def _while_live(key_of: Callable[[VoiceSession], str | None]) -> Callable[[VoiceSession], str | None]:
    return lambda voice_session: None if is_finished(voice_session) else key_of(voice_session)


# By what an admission looks VoiceSessions up: it walks over no others, however many there are.
SESSION_INDEXES: Mapping[str, Callable[[VoiceSession], str | None]] = MappingProxyType(
    {
        "call": lambda voice_session: voice_session.metadata.labels.get(CALL_LABEL),
        "room": room_of,
        "asked-sid": lambda voice_session: voice_session.spec.room_sid,
        "sid": lambda voice_session: voice_session.status.room_sid,
        "live-room": _while_live(room_of),
        "live-profile": _while_live(lambda voice_session: voice_session.spec.profile),
        "live-tenant": _while_live(_tenant_of),
    }
)


@dataclass(frozen=True)
class Grounds:
    """What starts are admitted by, now: all VoiceSessions, the profiles by name, the limits, and whose ticket it is."""

    sessions: Sessions
    profiles: Mapping[str, AgentProfile]
    limits: AdmissionLimits
    tickets: TicketKey


def decide_admission(room: RoomStart, now: datetime, grounds: Grounds) -> Admission:
    """Returns what becomes of a started room."""
    if not is_valid_room(room.name) or room.metadata == LEFT_TO_PEOPLE:
        return NotOurs()
    if served := _find_served(room, grounds.sessions):
        return AlreadyServed(served.metadata.name, is_finished(served))
    try:
        ticket = grounds.tickets.read(room.metadata, room.name)
    except ForeignTicketError:
        return NotOurs(foreign=True)
    except TicketError:
        return _find_left_over(room, grounds.sessions) or NotOurs()
    if ticket.voice_session is not None:
        return _decide_reserved(room, ticket.voice_session, now, grounds.sessions)
    refusal = (
        _refuse_age(room, ticket, now, grounds.limits)
        or _refuse_tenant(ticket, grounds)
        or _refuse_repetition(ticket, grounds)
        or refuse_concurrency(ticket, room.name, grounds)
    )
    return refusal or Admit(build_voice_session(voice_session_name(room.sid), room.name, room.sid, ticket))


def refuse_concurrency(ticket: CallTicket, room_name: str, grounds: Grounds) -> Refuse | None:
    """Returns why the ticket's profile or tenant has no place for one more call, or None when it has.

    Other VoiceSessions of the same room are not counted: LiveKit has one room of a name, so their calls are over.
    """
    profile = grounds.profiles.get(ticket.profile)
    if profile is None:
        return _no_profile(ticket)
    allowed, sessions = profile.spec.max_sessions, grounds.sessions
    here = sessions.by("live-room", room_name)
    if allowed is not None:
        same = sum(each.spec.profile == ticket.profile for each in here)
        if sessions.count("live-profile", ticket.profile) - same >= allowed:
            message = f"All places of profile {ticket.profile!r} are taken ({allowed})."
            return Refuse(RefusalReason.PROFILE_FULL, message)
    allowed, tenant = grounds.limits.tenant_max_sessions, ticket.tenant or ""
    if allowed is not None:
        same = sum(_tenant_of(each) == tenant for each in here)
        if sessions.count("live-tenant", tenant) - same >= allowed:
            return Refuse(RefusalReason.TENANT_FULL, f"All your calls at a time are taken ({allowed}).")
    return None


def build_voice_session(
    name: str, room_name: str, room_sid: str, ticket: CallTicket, private_variables: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Returns the VoiceSession that asks for an agent in this start of the room.

    `private_variables` join the ticket's, which the customer could read, and win over them.
    """
    labels = {
        PROFILE_LABEL: label_value(ticket.profile),
        CALL_LABEL: ticket.call_id,
        ROOM_HASH_LABEL: short_hash(room_name),
    }
    if ticket.tenant:
        labels[TENANT_LABEL] = label_value(ticket.tenant)
    annotations = {"annotations": {TRACEPARENT_ANNOTATION: ticket.traceparent}} if ticket.traceparent else {}
    spec = {
        "profile": ticket.profile,
        "room": room_name,
        "roomSid": room_sid,
        "participantIdentity": ticket.participant_identity,
        "llmProvider": ticket.llm_provider,
        "localMode": ticket.local_mode,
        "variables": {**ticket.variables, **(private_variables or {})},
        "tenant": ticket.tenant,
    }
    return {
        "apiVersion": API_VERSION,
        "kind": "VoiceSession",
        "metadata": {"name": name, "labels": labels, **annotations},
        "spec": {key: value for key, value in spec.items() if value is not None},
    }


def label_value(name: str) -> str:
    """Returns `name` as a label's value: itself, or a hash where an object's name is too long for a label."""
    return name if len(name) <= _LABEL_LENGTH else short_hash(name)


def _find_served(room: RoomStart, sessions: Sessions) -> VoiceSession | None:
    """Returns whose room this is.

    While a call is in progress, it has the room of its name: a LiveKit that was restarted gives it another sid.
    """
    found = [
        *sessions.by("live-room", room.name),
        *filter(None, [sessions.get(voice_session_name(room.sid))]),
        *sessions.by("asked-sid", room.sid),
        *sessions.by("sid", room.sid),
    ]
    return next(iter(found), None)


def _find_left_over(room: RoomStart, sessions: Sessions) -> AlreadyServed | None:
    """Returns whose left-over a room without a ticket is: the agent was the first in it after LiveKit's restart."""
    for each in sessions.by("room", room.name):
        if each.status.ended_at and each.status.ended_at >= room.created_at:
            return AlreadyServed(each.metadata.name, finished=True)
    return None


def _decide_reserved(room: RoomStart, name: str, now: datetime, sessions: Sessions) -> Refuse | NotOurs | AlreadyServed:
    owner = sessions.get(name)
    if owner is not None and owner.spec.room_sid is None:
        return AlreadyServed(name, is_finished(owner))
    if owner is None and now - room.created_at < _CREATION_GRACE:
        return NotOurs()
    return Refuse(RefusalReason.CALL_GONE, "This call is over. Ask for a new one.")


def _refuse_age(room: RoomStart, ticket: CallTicket, now: datetime, limits: AdmissionLimits) -> Refuse | None:
    if room.created_at - ticket.issued_at > limits.max_ticket_age:
        seconds = int(limits.max_ticket_age.total_seconds())
        message = f"This token was issued more than {seconds} s before its room started. Ask for a new one."
        return Refuse(RefusalReason.TICKET_EXPIRED, message)
    if now - room.created_at > limits.max_room_wait:
        return Refuse(RefusalReason.ROOM_TOO_OLD, "No agent could be called in time. Ask for a new token.")
    return None


def _refuse_tenant(ticket: CallTicket, grounds: Grounds) -> Refuse | None:
    """Refuses whom the profile was for when the ticket was signed, and is not any more."""
    profile = grounds.profiles.get(ticket.profile)
    return _no_profile(ticket) if profile and not profile.spec.is_for(ticket.tenant) else None


def _no_profile(ticket: CallTicket) -> Refuse:
    return Refuse(RefusalReason.PROFILE_MISSING, f"There is no agent profile {ticket.profile!r}.")


def _refuse_repetition(ticket: CallTicket, grounds: Grounds) -> Refuse | None:
    starts = grounds.sessions.count("call", ticket.call_id)
    if starts < grounds.limits.max_starts_per_call:
        return None
    message = f"This token has started {starts} calls, which is all it may. Ask for a new one."
    return Refuse(RefusalReason.TOO_MANY_STARTS, message)
