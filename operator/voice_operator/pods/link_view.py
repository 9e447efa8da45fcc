"""What an agent pod has told of its call, and how the connection to it stands. Pure."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from voicesession.assignment import (
    Accepted,
    ApiRequest,
    CallEnded,
    CustomerKnown,
    Finishing,
    HandedOver,
    HeardLate,
    Heartbeat,
    Joined,
    ModelFailed,
    OtherAgent,
    PodEvent,
    Ready,
    Resumed,
    RoomDeletionRequested,
)
from voicesession.measures import Measured


class LinkState(StrEnum):
    """How the operator's connection to a call's pod stands."""

    CONNECTING = "connecting"  # no answer yet
    FOLLOWING = "following"  # events arrive
    SILENT = "silent"  # no answer, or no heartbeat, for too long
    DEAD = "dead"  # its port refuses connections: there is no process any more
    REFUSED = "refused"  # it answered that this call is not its own


@dataclass(frozen=True, slots=True)
class LinkView:
    """What a call's pod has told, and how the connection to it stands since when."""

    pod_uid: str
    state: LinkState
    since: datetime  # by the steady clock, as all times here
    answered_at: datetime | None = None  # its first event came: from here on it can be judged by what it tells
    accepted: bool = False
    joined: Joined | None = None
    joined_at: datetime | None = None
    ready: bool = False  # it stands by
    handed: HandedOver | None = None  # it has fallen silent for its successor, and not gone on since
    hands_at: datetime | None = None  # by the pod's clock: when it last did either
    late: HeardLate | None = None  # what its customer said to it since
    customer: str | None = None  # the participant whom it serves, where it had to find that out
    finishing: Finishing | None = None  # its call is over, and it still works
    done_by: datetime | None = None  # it said how long that takes at most
    ended: CallEnded | None = None
    deletion_requested: bool = False
    other_agent: str | None = None  # identity of somebody else's agent that is in the room too
    unanswered_since: datetime | None = None  # its port has taken connections without an answer, and nothing else
    refusal: int | None = None  # the HTTP status by which it refused
    detail: str = ""

    @property
    def over(self) -> CallEnded | Finishing | None:
        """Returns by what it told that its call is over; None while that goes on."""
        return self.ended or self.finishing

    @property
    def works_on(self) -> bool:
        """Tells whether its call is over and it still has something to do."""
        return self.finishing is not None and self.ended is None


def with_event(view: LinkView, event: PodEvent, now: datetime) -> LinkView:  # noqa: PLR0911, PLR0912 - one line for each event
    """Returns the view after this event of the pod, which came at `now`; the same event again changes nothing."""
    if view.answered_at is None or view.unanswered_since:
        view = replace(view, answered_at=view.answered_at or now, unanswered_since=None)
    match event:
        case Accepted():
            return replace(view, accepted=True)
        case Joined():
            return replace(view, accepted=True, joined=event, joined_at=view.joined_at or now)
        case Ready():
            return replace(view, ready=True)
        case HandedOver() | Resumed():
            if view.hands_at and event.at <= view.hands_at:
                return view
            return replace(view, handed=event if isinstance(event, HandedOver) else None, hands_at=event.at)
        case HeardLate():
            return replace(view, late=event)
        case CustomerKnown():
            return replace(view, customer=event.participant_identity)
        case RoomDeletionRequested():
            return replace(view, deletion_requested=True)
        case OtherAgent(identity=identity):
            return replace(view, other_agent=identity)
        case Finishing():
            done_by = view.done_by or now + timedelta(seconds=event.seconds)
            return replace(view, finishing=event, done_by=done_by)
        case CallEnded():
            return replace(view, ended=event)
        case Heartbeat() | Measured() | ModelFailed() | ApiRequest():
            return view
