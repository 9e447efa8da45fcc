"""What a decision about one call is made of, and what it may be: the view of the call, and the steps. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from voice_operator.calls.deaths import Death, recovery_delay
from voice_operator.calls.hand_over import Move, Trigger, stands_by
from voice_operator.calls.memory import CallMemory
from voice_operator.pods.agent_pod import AgentPod, Trouble
from voice_operator.pods.link_view import LinkView
from voicesession.admission import AdmissionLimits
from voicesession.assignment import HeardLate
from voicesession.conditions import Reason
from voicesession.models import EffectiveLimits, EndReason, VoiceSession, VoiceSessionStatus
from voicesession.serving import Problem, Serving

_EPOCH = datetime.min.replace(tzinfo=UTC)
# What serves a call whose VoiceSession is gone.
NO_SESSION = Problem(Reason.CALL_ENDED, "There is no VoiceSession.")


@dataclass(frozen=True, slots=True)
class Terms:
    """What the operator's settings say about calls."""

    no_pod_timeout: timedelta = timedelta(seconds=15)
    admission: AdmissionLimits = field(default_factory=AdmissionLimits)


@dataclass(frozen=True, slots=True)
class CallView:
    """Everything that a decision about one call depends on: what was just seen, and what is remembered."""

    now: datetime  # by the steady clock
    memory: CallMemory
    wall_ahead: timedelta = timedelta(0)
    terms: Terms = field(default_factory=Terms)
    session: VoiceSession | None = None
    known_deleted: bool = False  # the API server said that the VoiceSession is gone
    unreadable: bool = False  # it is there, but this release cannot read what it is now
    serving: Serving | Problem = NO_SESSION
    pods: Sequence[AgentPod] = ()  # all that carry its uid, but for the end of those that were given up
    link: LinkView | None = None  # to the last pod that it was connected to
    beside: LinkView | None = None  # to the pod that stands by, or to the one that has handed over
    trigger: Trigger | None = None  # why it is to go to another pod
    fresh_pod: bool = False  # its pool has a ready one that is up to date, or none that is not
    cut_off: bool = False  # so many pods are silent that it may be us who hear nobody
    lost_node: str | None = None  # where the operator fell silent that led before, and nobody has been heard since
    agent_absent: bool = False  # LiveKit sees no agent in the room, though its pod may be in a call
    room_missing_since: datetime | None = None  # LiveKit does not have it any more
    rival: str | None = None  # the VoiceSession that has the right to the same room
    limit: Problem | None = None  # why it may not begin now
    line: str | None = None  # the pool in whose line it stands
    pod_available: bool = False  # for it, with all that stand before it in that line served
    trouble: Trouble | None = None  # why the pods of that pool do not start

    @property
    def pod(self) -> AgentPod | None:
        """Returns the one of its pods that has the call."""
        return choose_pod(self.carriers, self.link)

    @property
    def carriers(self) -> list[AgentPod]:
        """Returns those of its pods that may have the call."""
        return find_carriers(self.pods, self.session, self.memory.move, self.links)

    @property
    def links(self) -> list[LinkView]:
        """Returns what the pods that it is connected to have told."""
        return [link for link in (self.link, self.beside) if link]

    @property
    def standby(self) -> AgentPod | None:
        """Returns the pod that stands by for the one that has the call."""
        found = (pod for pod in self.pods if pod.exit is None and pod.uid not in self.memory.lost_pods)
        waiting = [pod for pod in found if stands_by(pod, self.pods, self.session, self.memory.move, self.links)]
        return max(waiting, key=lambda pod: pod.attempt, default=None)

    @property
    def next_claim_at(self) -> datetime:
        """Returns when it may have its next pod; one that loses its agents again and again is slowed down."""
        lost = self.session.status.lost_agents if self.session else None
        return (self.memory.lost_at or self.memory.arrived_at) + recovery_delay(lost or 0)

    @property
    def wall(self) -> datetime:
        """Returns the time for what is written."""
        return self.now + self.wall_ahead

    @property
    def gives_up_at(self) -> datetime:
        """Returns when it has waited for a pod for as long as a customer does."""
        return self.memory.waiting_since + self.terms.no_pod_timeout


def find_carriers(
    pods: Sequence[AgentPod], session: VoiceSession | None, move: Move, links: Sequence[LinkView]
) -> list[AgentPod]:
    """Returns those of a call's pods that may have it.

    What an attempt does whose agent was lost is none of it, nor that of one whose call was taken over; and one that
    stands by has not got it yet.
    """
    waiting = {pod.uid for pod in pods if stands_by(pod, pods, session, move, links)}
    there = [pod for pod in pods if pod.uid not in waiting and not is_given_up(pod, session)]
    followed = {pod.stands_by_for for pod in there if pod.stands_by_for}
    return [pod for pod in there if pod.attempt not in followed]


def is_given_up(pod: AgentPod, session: VoiceSession | None) -> bool:
    """Tells whether the call has lost this pod's agent."""
    return session is not None and pod.attempt <= (session.status.lost_attempt or 0)


def choose_pod(pods: Sequence[AgentPod], link: LinkView | None) -> AgentPod | None:
    """Returns the one pod that has the call: of the highest attempt, then of the oldest claim.

    One that is over has it only if there is no other; by its own word, in `link`, it may be so before its kubelet's.
    """
    ended = link.pod_uid if link and link.ended else None

    def rank(pod: AgentPod) -> tuple[bool, int, bool, datetime, str]:
        is_over = pod.exit is not None or pod.uid == ended
        return (is_over, -pod.attempt, pod.deleting, pod.claimed_at or _EPOCH, pod.uid)

    return min(pods, key=rank, default=None)


def is_end_wanted(session: VoiceSession) -> bool:
    """Tells whether somebody wants the call to end."""
    return session.spec.end or session.metadata.deletion_timestamp is not None


# The steps. Each is a value with all that its act needs beside the call's memory; the reconciler has an act for each.


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing to do before `until`, unless something happens."""

    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class WriteStatus:
    """Tell how it stands."""

    session: VoiceSession
    status: VoiceSessionStatus


@dataclass(frozen=True, slots=True)
class Lose:
    """Give up the call's agent, and tell so: another one is to carry the call on, but not on `node`."""

    session: VoiceSession
    status: VoiceSessionStatus
    node: str | None = None


@dataclass(frozen=True, slots=True)
class Finish:
    """End it. `closes`: its conversation too, of which no agent has told that its end is written."""

    session: VoiceSession
    status: VoiceSessionStatus
    refusal: Problem | None = None  # what the customer in the room is told
    closes: bool = False


@dataclass(frozen=True, slots=True)
class Complete:
    """Tell that the agent of a call that is over has done its work, or lost it. `closes`: as in `Finish`."""

    session: VoiceSession
    status: VoiceSessionStatus
    closes: bool = False


@dataclass(frozen=True, slots=True)
class Begin:
    """The call counts from now on; limits bind it no more."""


@dataclass(frozen=True, slots=True)
class MakeRoom:
    """Create the call's room in LiveKit."""

    session: VoiceSession
    limits: EffectiveLimits


@dataclass(frozen=True, slots=True)
class JoinLine:
    """Wait for a pod of this pool. `afresh`: behind those that wait already, and the pool is asked for one."""

    pool: str
    afresh: bool = False


@dataclass(frozen=True, slots=True)
class LeaveLine:
    """Wait no more for a pod of this pool."""

    pool: str


@dataclass(frozen=True, slots=True)
class AskForPod:
    """Have this pool start one more: none is ready for the call."""

    pool: str


@dataclass(frozen=True, slots=True)
class Number:
    """Write down that the numbers up to `claims` are used: another process may have used them, or a lost claim has."""

    session: VoiceSession
    status: VoiceSessionStatus
    claims: int


@dataclass(frozen=True, slots=True)
class Claim:
    """Claim a ready pod of the serving pool.

    `stands_by_for`: the attempt that has the call, and shall go on until this one takes it over; not on node `avoid`.
    """

    session: VoiceSession
    serving: Serving
    attempt: int
    stands_by_for: int = 0
    avoid: str | None = None


@dataclass(frozen=True, slots=True)
class ReadBack:
    """Read the pod whose claim had no answer: nothing else may be claimed before that is known."""

    pod_name: str


@dataclass(frozen=True, slots=True)
class ReadPods:
    """Read all pods of the call: the cache may lack one that another operator claimed."""


@dataclass(frozen=True, slots=True)
class Connect:
    """Give the call to its pod, or go on following it: to the pod both are the same.

    `serving` None: what served it is gone, so it can only be followed.
    """

    session: VoiceSession
    pod: AgentPod
    serving: Serving | None


@dataclass(frozen=True, slots=True)
class ConnectStandby:
    """Have a pod prepare itself for the call, or go on following it, beside the one that has it."""

    session: VoiceSession
    pod: AgentPod
    serving: Serving


@dataclass(frozen=True, slots=True)
class AskHandOver:
    """Ask the pod that has the call to hand it over, in a quiet moment within `patience` seconds or then."""

    pod: AgentPod
    patience: float


@dataclass(frozen=True, slots=True)
class TakeOver:
    """Have the pod that stands by join. `state`: what the one before it has told, if it could."""

    session: VoiceSession
    pod: AgentPod
    serving: Serving | None
    state: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class TellLate:
    """Tell the agent that has the call what its customer said to the one before it."""

    pod: AgentPod
    late: HeardLate


@dataclass(frozen=True, slots=True)
class GiveBack:
    """The pod that was told to join has not: the one before it has the call still."""

    pod: AgentPod


@dataclass(frozen=True, slots=True)
class Moved:
    """The call has another pod: write so."""

    session: VoiceSession
    status: VoiceSessionStatus
    joined_at: datetime


@dataclass(frozen=True, slots=True)
class AskLiveKit:
    """Have LiveKit asked whether the agent is still in the room, with those of other calls."""


@dataclass(frozen=True, slots=True)
class TellOtherAgent:
    """Tell that somebody else's agent, of this identity, is in the room too."""

    session: VoiceSession
    identity: str


@dataclass(frozen=True, slots=True)
class AskEnd:
    """Ask the pod to end the call."""

    pod: AgentPod
    reason: EndReason


@dataclass(frozen=True, slots=True)
class Dismiss:
    """End and delete pods that the call must not, or does not, need any more."""

    pods: tuple[AgentPod, ...]
    reason: EndReason
    lost: bool = False  # they were claimed and never accepted


@dataclass(frozen=True, slots=True)
class TellCause:
    """Tell what the agent of this attempt was lost by, which was not known when it was given up."""

    session: VoiceSession
    attempt: int
    death: Death


@dataclass(frozen=True, slots=True)
class Retire:
    """Have a pod that has lost the call end without a word, and ask it for what it could not write."""

    pod: AgentPod


@dataclass(frozen=True, slots=True)
class Collect:
    """Ask a pod whose call has ended for what it could not write of its conversation.

    `is_ending`: it was just told to end, so that what it holds may be still to come.
    """

    pod: AgentPod
    is_ending: bool = False


@dataclass(frozen=True, slots=True)
class CloseConversation:
    """Have the conversation closed of a call whose VoiceSession was deleted while it ran."""

    reason: EndReason


@dataclass(frozen=True, slots=True)
class TellRefusal:
    """Tell the customer in the room why there will be no agent.

    `leaves_people`: not if there are several people, who go on without one.
    """

    problem: Problem
    leaves_people: bool = False


@dataclass(frozen=True, slots=True)
class CloseRoom:
    """Delete the room; `leaves_people`: not if there are several people in it."""

    leaves_people: bool = False


@dataclass(frozen=True, slots=True)
class ConfirmGone:
    """Ask the API server whether the VoiceSession that owns these pods is really gone."""

    name: str


@dataclass(frozen=True, slots=True)
class Expire:
    """Delete the finished VoiceSession."""

    session: VoiceSession


@dataclass(frozen=True, slots=True)
class Forget:
    """Nothing is left of it."""


Act = (
    WriteStatus
    | Lose
    | Finish
    | Complete
    | Begin
    | MakeRoom
    | JoinLine
    | LeaveLine
    | AskForPod
    | Number
    | Claim
    | ReadBack
    | ReadPods
    | Connect
    | ConnectStandby
    | AskHandOver
    | TakeOver
    | TellLate
    | GiveBack
    | Moved
    | AskLiveKit
    | TellOtherAgent
    | AskEnd
    | Dismiss
    | TellCause
    | Retire
    | Collect
    | CloseConversation
    | TellRefusal
    | CloseRoom
    | ConfirmGone
    | Expire
)
Step = Rest | Act | Forget
