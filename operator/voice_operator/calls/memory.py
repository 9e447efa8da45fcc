"""What the operator knows of each call beyond the API server's objects. All of it can be lost: it is found again."""

import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from voice_operator.calls.call_traces import trace_of
from voice_operator.calls.hand_over import Move
from voice_operator.pods.agent_pod import AgentPod
from voice_operator.pods.link_view import LinkView
from voice_operator.pools.waiting_line import BEFORE_ALL, Turn
from voice_telemetry.traces import CallTrace
from voicesession.admission import is_finished
from voicesession.conditions import ConditionType, Reason, find_condition, is_agent_at_work
from voicesession.live_calls import MOST_ANSWERS
from voicesession.models import StartType, VoiceSession, VoiceSessionStatus
from voicesession.serving import Problem


@dataclass(frozen=True, slots=True)
class ClaimRefusal:
    """What the API server said to the claim of a pod that was free."""

    message: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Attempt:
    """What is known of the turn that one pod has, or had, at the call; of the next one's nothing is known."""

    pod_uid: str = ""
    accepted: bool = False
    asked_livekit_at: datetime | None = None
    absent_at: datetime | None = None  # since when LiveKit sees no agent in the room


@dataclass(frozen=True, slots=True)
class CallMemory:
    """One call. It travels in the call's view, and an act returns it changed; see `Calls`.

    All times are by the steady clock, of when this process saw or did something.
    """

    uid: str
    arrival: int  # its number among all calls
    arrived_at: datetime
    name: str = ""  # of its VoiceSession; empty until that was seen
    profile: str = ""
    tenant: str = ""
    trace: CallTrace | None = None  # None until its VoiceSession was seen
    begun: bool = False  # it counts, and limits bind it no more
    finished_at: datetime | None = None
    gone_at: datetime | None = None  # its VoiceSession is deleted
    unwritten: VoiceSessionStatus | None = None  # its status, as decided, that the API server does not take
    untold: Problem | None = None  # why it was refused, which its customer has not been told yet
    conversation_settled: bool = False  # it has its end, or will get it from us, or by the sweep

    # Its way to a pod
    turn: Turn | None = None  # in the line of its pool, kept for another wait
    lost_attempt: int = 0  # up to this one, all have lost the call
    cause_told: int = 0  # the last of them of which is told that it was out of memory
    lost_at: datetime | None = None  # the last of them: since then it waits for the next
    waited: bool = False  # no pod was ready when it was due for one
    unanswered_claim: str | None = None  # name of the pod; here from before the claim is sent
    claim_refusal: ClaimRefusal | None = None  # the last, unless a claim has succeeded since
    claims: int = 0  # the highest number that a claim of it has, or may have
    numbered: int | None = 0  # the highest number that this process has written down; None: it inherited the call
    tries: int = 0  # pods that were claimed for it since it began, or has lost its agent
    claimed_here: str | None = None  # uid of the last pod that this process claimed
    lost_pods: frozenset[str] = frozenset()  # uids of those that were given up before they accepted it

    # Its pod and agent
    last_pod: AgentPod | None = None  # the one it had, even if it is gone
    attempt: Attempt = Attempt()  # of that pod
    move: Move = field(default_factory=Move)  # its way to another one
    pods_read: bool = False  # afresh, since its agent seemed to be gone
    customer: str | None = None  # whom it serves, by the word of an agent
    longest: timedelta | None = None  # what it may last, as its pod was told
    talks_since: datetime | None = None  # its first agent was in the room
    other_agent_told: bool = False  # that somebody else's agent is, too
    collected: frozenset[str] = frozenset()  # uids of pods that hold nothing unwritten any more
    end_wanted_at: datetime | None = None
    end_tried_at: datetime | None = None  # the last time that the pod was to be asked for its end
    end_asked_at: datetime | None = None  # the pod has been asked for it

    # Its room
    room: str = ""  # the room's name, whether it exists or not; empty: nobody knows it, and the room poll closes it
    room_sid: str | None = None
    room_made_at: datetime | None = None
    room_closed: bool = False
    livekit_error: str | None = None  # why there is no room yet

    @property
    def waiting_since(self) -> datetime:
        """Returns when it began to wait for a pod."""
        return max(self.arrived_at, self.room_made_at or self.arrived_at, self.lost_at or self.arrived_at)

    @property
    def start_type(self) -> StartType:
        """Returns whether its pod waited for it, or it for its pod."""
        return StartType.COLD if self.waited else StartType.WARM


def recall(memory: CallMemory, session: VoiceSession, room: str, *, has_pods: bool, inherited: bool) -> CallMemory:
    """Returns what follows from the objects alone, of a call that another process may have begun.

    `room`: the name of the room that it has, or will have. `inherited`: another process may have claimed for it.
    """
    bound = find_condition(session.status.conditions, ConditionType.POD_BOUND)
    return replace(
        memory,
        name=session.metadata.name,
        profile=session.spec.profile,
        tenant=session.spec.tenant or "",
        trace=trace_of(session),
        begun=has_pods or (bound is not None and bound.status == "True") or session.status.lost_attempt is not None,
        claims=session.status.attempts or 0,
        numbered=None if inherited or has_pods or session.status.attempts else 0,
        tries=1 if has_pods else 0,
        room=room,
        room_sid=session.status.room_sid or session.spec.room_sid,
        customer=session.status.participant_identity,
        room_closed=is_finished(session),
        conversation_settled=is_finished(session) and not is_agent_at_work(session.status.conditions),
    )


def learn(memory: CallMemory, pod: AgentPod | None, link: LinkView | None) -> CallMemory:
    """Returns the memory with what the call's pod, and its events, add to it."""
    attempt = _turn_of(memory.attempt, pod, link)
    told = link if link and link.pod_uid == attempt.pod_uid else None
    joined = told.joined if told else None
    last_pod = pod or memory.last_pod
    claims = max(memory.claims, pod.attempt) if pod else memory.claims
    customer = (told.customer if told else None) or memory.customer
    room_sid = memory.room_sid or (joined.room_sid if joined else None)
    talks_since = memory.talks_since or (told.joined_at if told else None)
    known = (memory.attempt, memory.claims, memory.customer, memory.room_sid, memory.talks_since)
    if last_pod is memory.last_pod and (attempt, claims, customer, room_sid, talks_since) == known:
        return memory
    return replace(
        memory,
        attempt=attempt,
        last_pod=last_pod,
        claims=claims,
        customer=customer,
        room_sid=room_sid,
        talks_since=talks_since,
    )


def _turn_of(attempt: Attempt, pod: AgentPod | None, link: LinkView | None) -> Attempt:
    if pod and pod.uid != attempt.pod_uid:
        attempt = Attempt(pod.uid)
    accepted = link is not None and link.pod_uid == attempt.pod_uid and link.accepted
    return replace(attempt, accepted=True) if accepted and not attempt.accepted else attempt


def note_losses(memory: CallMemory, status: VoiceSessionStatus, now: datetime) -> CallMemory:
    """Returns the memory with what `status` says of lost agents.

    Of one that is new the call waits for the next as if it had just come, but before all others.
    """
    lost = status.lost_attempt or 0
    if lost <= memory.lost_attempt:
        return memory if lost == memory.lost_attempt else replace(memory, lost_attempt=lost)
    return replace(
        memory,
        attempt=Attempt(),
        move=Move(),
        lost_attempt=lost,
        cause_told=lost if status.reason == Reason.OUT_OF_MEMORY else memory.cause_told,
        lost_at=now,
        turn=BEFORE_ALL,
        waited=False,
        claim_refusal=None,
        # Written together with the loss; but not what the process before may have claimed since.
        numbered=None if memory.numbered is None else max(memory.numbered, status.attempts or 0),
        tries=0,
        pods_read=False,
    )


class Calls:
    """The memories of all calls, by the uid of their VoiceSession.

    Only the reconciliation of a call changes its memory. It is kept after each look and each act; an act that may fail
    half-way keeps what must survive that before it sends anything.
    """

    def __init__(self) -> None:
        self.inherited: set[str] = set()  # uids of calls that were there before this process began to decide
        self._memories: dict[str, CallMemory] = {}
        self._answers: dict[str, deque[int]] = {}
        self._arrivals = itertools.count()

    def __iter__(self) -> Iterator[CallMemory]:
        return iter(list(self._memories.values()))

    def get(self, uid: str) -> CallMemory | None:
        """Returns what is known of a call, or None."""
        return self._memories.get(uid)

    def meet(self, uid: str, now: datetime) -> CallMemory:
        """Returns what is known of a call, which from now on is one of those that arrived."""
        memory = self._memories.get(uid)
        return memory or self.keep(CallMemory(uid, next(self._arrivals), now))

    def keep(self, memory: CallMemory) -> CallMemory:
        """Takes in, and returns, what is known of a call now."""
        self._memories[memory.uid] = memory
        return memory

    def forget(self, uid: str) -> None:
        """Drops what is known of a call."""
        self._memories.pop(uid, None)
        self._answers.pop(uid, None)
        self.inherited.discard(uid)

    def note_answer(self, uid: str, millis: int) -> None:
        """Remembers how long an agent's answer took, of a call that is known; many answers ago is forgotten."""
        if uid in self._memories:
            self._answers.setdefault(uid, deque(maxlen=MOST_ANSWERS)).append(millis)

    def answers_of(self, uid: str) -> Sequence[int]:
        """Returns how long a call's last answers took, in milliseconds, the newest last."""
        return self._answers.get(uid, ())
