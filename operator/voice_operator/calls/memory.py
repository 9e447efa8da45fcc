"""What the operator knows of each call beyond the API server's objects. All of it can be lost: it is found again."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from voice_operator.pods.agent_pod import AgentPod
from voice_operator.pods.link import PodLink
from voicesession.models import VoiceSession

# A VoiceSession first seen this soon after its creation was created now; its own time has whole seconds only.
_FRESH = timedelta(seconds=3)


@dataclass
class Call:
    """One call."""

    uid: str
    arrival: int
    arrived_at: datetime
    name: str = ""  # of its VoiceSession; empty until that was seen
    profile: str = ""
    admitted: bool = False
    turn: int | None = None  # in the line of its pool
    waited: bool = False
    claiming: bool = False
    claims: int = 0
    doubtful_claim: str | None = None
    claim_refusal: str | None = None  # the API server's words
    claim_refused_at: datetime | None = None
    claimed_here: str | None = None  # uid of the pod that this process claimed, not yet connected to
    link: PodLink | None = None
    last_pod: AgentPod | None = None
    lost_pods: set[str] = field(default_factory=set)  # uids of those that were dismissed before they accepted it
    accepted: bool = False
    room: str = ""  # empty: nobody knows it; the room poll closes what is left over
    room_sid: str | None = None
    room_made_at: datetime | None = None
    room_closed: bool = False
    livekit_error: str | None = None
    pods_read: bool = False
    agent_absent: bool = False
    asked_livekit_at: datetime | None = None
    end_asked_at: datetime | None = None
    known_deleted: bool = False

    def is_linked_to(self, pod: AgentPod) -> bool:
        """Tells whether events of this pod are followed."""
        return self.link is not None and self.link.pod.uid == pod.uid


class Calls:
    """All calls by the uid of their VoiceSession."""

    def __init__(self) -> None:
        self._calls: dict[str, Call] = {}
        self._arrivals = itertools.count()

    def __iter__(self) -> Iterator[Call]:
        return iter(list(self._calls.values()))

    def get(self, uid: str) -> Call | None:
        """Returns the call, or None where nothing is known of it yet."""
        return self._calls.get(uid)

    def meet(self, uid: str, session: VoiceSession | None, now: datetime) -> Call:
        """Returns the call, which from now on is known."""
        call = self._calls.get(uid)
        if call is None:
            call = self._calls[uid] = Call(uid, next(self._arrivals), _arrival(session, now))
        return call

    def forget(self, uid: str) -> None:
        """Drops what is known of a call."""
        self._calls.pop(uid, None)


def _arrival(session: VoiceSession | None, now: datetime) -> datetime:
    created = session.metadata.creation_timestamp if session else None
    return now if created is None or now - created < _FRESH else created
