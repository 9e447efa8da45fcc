"""When and why a call ends: facts in, reason out. Pure; all times are seconds of one monotonic clock."""

from dataclasses import dataclass, field

from livekit import rtc

from voicesession.departures import seconds_to_return
from voicesession.models import EffectiveLimits, EndReason

# Ends that come upon the customer, so that a goodbye is due.
_WITH_GOODBYE = {EndReason.IDLE, EndReason.MAX_DURATION, EndReason.ENDED_BY_REQUEST}
# Ends of an agent that are none of its conversation: another goes on with it.
_GOES_ON = {EndReason.SUPERSEDED, EndReason.SHUTDOWN}

_ROOM_IS_GONE = {
    rtc.DisconnectReason.ROOM_DELETED,
    rtc.DisconnectReason.ROOM_CLOSED,
    rtc.DisconnectReason.PARTICIPANT_REMOVED,
}


@dataclass(frozen=True)
class Ending:
    """Why a call ended, once and for all. `by_code`: the agent's code ended it, in its own words.

    `cut_short`: what the agent was still at when its time was over.
    """

    reason: EndReason
    message: str = ""
    by_code: bool = False
    usage: dict[str, object] = field(default_factory=dict)
    cut_short: tuple[str, ...] = ()

    @property
    def wants_goodbye(self) -> bool:
        """Whether the profile's goodbye is to be said; code that ends a call says its own."""
        return self.reason in _WITH_GOODBYE and not self.by_code

    @property
    def conversation_goes_on(self) -> bool:
        """Whether another agent has the conversation now, or is to get it."""
        return self.reason in _GOES_ON


@dataclass
class CallFacts:
    """What is known of a call while it runs. None: it has not happened."""

    joined_at: float | None = None
    customer_present: bool = False
    customer_seen: bool = False
    customer_came_at: float | None = None  # for the first time
    customer_left_at: float | None = None
    customer_left_by: str | None = None  # LiveKit's name of the reason
    customer_by_phone: bool = False
    livekit_lost_at: float | None = None
    rejoining: bool = False  # LiveKit's library has given up: we try by ourselves
    last_activity_at: float = 0.0
    customer_speaks: bool = False
    turn_open_since: float | None = None  # they have spoken, and what they said is no item yet
    agent_busy: bool = False
    has_session: bool = False  # there is an agent session, which tells who speaks
    tools_running: set[str] = field(default_factory=set)  # their call ids, those that run beside the conversation too

    def customer_came(self, now: float) -> None:
        """The customer is in the room."""
        self.customer_present = self.customer_seen = True
        self.customer_came_at = now if self.customer_came_at is None else self.customer_came_at
        self.customer_left_at = None
        self.customer_left_by = None
        self.last_activity_at = now

    def customer_left(self, now: float, reason: rtc.DisconnectReason.ValueType | None) -> None:
        """The customer's connection is gone; `reason` tells whether on purpose."""
        if self.customer_speaks:
            self.turn_open_since = now
        self.customer_present = self.customer_speaks = False
        self.customer_left_at = now
        self.customer_left_by = _name(reason)

    def livekit_lost(self, now: float) -> None:
        """The agent itself is out of the room. Who else is there, nobody knows from now on."""
        self.livekit_lost_at = now if self.livekit_lost_at is None else self.livekit_lost_at

    def livekit_back(self, now: float) -> None:
        """The agent is in the room again. A customer who is not has as long to come back as if they left now."""
        self.livekit_lost_at, self.rejoining = None, False
        if self.customer_seen and not self.customer_present:
            self.customer_left_at = now


def decide_end(facts: CallFacts, limits: EffectiveLimits, now: float) -> EndReason | None:
    """Returns the reason for which the call is over by now, or None."""
    return next((reason for at, reason in _deadlines(facts, limits) if at <= now), None)


def next_deadline(facts: CallFacts, limits: EffectiveLimits) -> float | None:
    """Returns when the call will be over if nothing happens until then, or None while nothing runs out."""
    return min((at for at, _ in _deadlines(facts, limits)), default=None)


def decide_room_end(reason: rtc.DisconnectReason.ValueType | None) -> Ending | None:
    """Returns what the agent's own final disconnection means; None where it may come back, as after an outage."""
    if reason == rtc.DisconnectReason.DUPLICATE_IDENTITY:
        return Ending(EndReason.SUPERSEDED, "another agent has joined the room in this one's place")
    if reason in _ROOM_IS_GONE:
        return Ending(EndReason.ROOM_CLOSED)
    if reason == rtc.DisconnectReason.CLIENT_INITIATED:
        return Ending(EndReason.ENDED_BY_REQUEST, "the agent's code left the room", by_code=True)
    return None


def _may_be_idle(facts: CallFacts) -> bool:
    """Tells whether nothing goes on, as far as it is known: of code without an agent session nothing is."""
    is_active = facts.customer_speaks or facts.agent_busy or bool(facts.tools_running)
    return facts.customer_present and facts.has_session and not is_active


def _name(reason: rtc.DisconnectReason.ValueType | None) -> str:
    return rtc.DisconnectReason.Name(reason) if reason in rtc.DisconnectReason.values() else "UNKNOWN"


def _deadlines(facts: CallFacts, limits: EffectiveLimits) -> list[tuple[float, EndReason]]:
    """Returns every clock that runs, in order of precedence."""
    if facts.joined_at is None:
        return []
    found: list[tuple[float, EndReason]] = []
    if facts.livekit_lost_at is not None and facts.rejoining:
        found.append((facts.livekit_lost_at + limits.reconnect_grace_seconds, EndReason.ROOM_CLOSED))
    if facts.customer_left_at is not None and facts.livekit_lost_at is None:
        grace = seconds_to_return(facts.customer_left_by, limits, by_phone=facts.customer_by_phone)
        found.append((facts.customer_left_at + grace, EndReason.PARTICIPANT_LEFT))
    if not facts.customer_seen:
        found.append((facts.joined_at + limits.join_timeout_seconds, EndReason.NEVER_JOINED))
    # A later attempt is given what the earlier ones have left of it.
    found.append((facts.joined_at + limits.max_duration_seconds, EndReason.MAX_DURATION))
    if _may_be_idle(facts):
        found.append((facts.last_activity_at + limits.idle_timeout_seconds, EndReason.IDLE))
    return found
