"""What to do next for one call, given all that is known of it. Pure: the reconciler observes before and acts after.

One decision is one step. The reconciler takes it, looks again and decides again, until there is nothing left but to
wait; so each step has to be safe to repeat, and an operator that dies between two steps is continued by the next one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from voice_operator.calls.status import (
    report_finished,
    report_joined,
    report_livekit_unavailable,
    report_starting,
    report_waiting,
)
from voice_operator.pods.agent_pod import AgentPod, Trouble
from voice_operator.pods.link_view import LinkState, LinkView
from voicesession.admission import AdmissionLimits, is_finished
from voicesession.conditions import ConditionType, Reason, find_condition
from voicesession.models import EffectiveLimits, EndReason, StartType, VoiceSession, VoiceSessionStatus
from voicesession.serving import Problem, Serving

# A VoiceSession may be applied just before its profile or pool.
REFERENCE_GRACE = timedelta(seconds=5)
# Waiting or joining for longer than this is worth a write of its own.
WORTH_TELLING = timedelta(seconds=1)
JOIN_TIMEOUT = timedelta(seconds=30)
LIVEKIT_PATIENCE = timedelta(seconds=120)
# After the pod's port refused us: for the kubelet (0.4-1 s) to say how the process ended.
EXIT_GRACE = timedelta(seconds=3)
# A silent pod that LiveKit still sees in the room may just be cut off from us.
ASK_LIVEKIT_EVERY = timedelta(seconds=3)
END_PATIENCE = timedelta(seconds=20)
# A claim is refused by wrong rights or an admission policy, which somebody may be putting right.
CLAIM_AGAIN = timedelta(seconds=1)
# Pods that died, or refused, before they accepted the call.
MAX_CLAIMS = 3


@dataclass(frozen=True, slots=True)
class CallView:
    """Everything that a decision about one call depends on."""

    uid: str
    now: datetime
    arrived_at: datetime
    room_made_at: datetime | None = None
    session: VoiceSession | None = None
    known_deleted: bool = False  # the API server said that the VoiceSession is gone
    serving: Serving | Problem | None = None
    pods: Sequence[AgentPod] = ()  # all that carry its uid
    last_pod: AgentPod | None = None  # the one it had, even if it is gone
    link: LinkView | None = None
    rival: str | None = None  # the VoiceSession that has the right to the same room
    admitted: bool = False
    limit: Problem | None = None  # why it may not begin now
    room: str = ""  # the room's name, whether it exists or not
    room_is_ours: bool = False  # the operator is to make it
    room_closed: bool = False
    livekit_error: str | None = None
    doubtful_claim: str | None = None  # name of a pod that was perhaps claimed
    claim_refusal: str | None = None  # what the API server said to the last claim of a pod that was free
    claim_refused_at: datetime | None = None
    pod_available: bool = False
    waited: bool = False  # no pod was ready when it was due for one
    trouble: Trouble | None = None  # why its pool's pods do not start
    claims: int = 0  # pods that it had
    accepted: bool = False  # one of them accepted the call
    pods_read: bool = False  # afresh, since its agent seemed to be gone
    agent_absent: bool = False  # LiveKit sees no agent in the room
    asked_livekit_at: datetime | None = None
    end_asked_at: datetime | None = None
    no_pod_timeout: timedelta = timedelta(seconds=15)
    admission: AdmissionLimits = field(default_factory=AdmissionLimits)

    @property
    def waiting_since(self) -> datetime:
        """Returns when it began to wait for a pod."""
        return max(self.arrived_at, self.room_made_at or self.arrived_at)

    @property
    def gives_up_at(self) -> datetime:
        """Returns when it has waited for a pod for as long as a customer does."""
        return self.waiting_since + self.no_pod_timeout

    @property
    def start_type(self) -> StartType:
        """Returns whether its pod waited for it, or it for its pod."""
        return StartType.COLD if self.waited else StartType.WARM


# The steps. Each is a value; the reconciler has one method for each.


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing to do before `until`, unless something happens."""

    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class WriteStatus:
    """Tell how it stands."""

    status: VoiceSessionStatus


@dataclass(frozen=True, slots=True)
class Finish:
    """Close the books. `died`: the agent ended without closing its conversation's."""

    status: VoiceSessionStatus
    refusal: Problem | None = None  # what the customer in the room is told
    died: bool = False


@dataclass(frozen=True, slots=True)
class Admit:
    """The call counts from now on; limits bind it no more."""


@dataclass(frozen=True, slots=True)
class MakeRoom:
    """Create the call's room in LiveKit."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Claim a ready pod of the serving pool."""

    attempt: int


@dataclass(frozen=True, slots=True)
class ReadBack:
    """Read the pod whose claim had no answer: nothing else may be claimed before that is known."""

    pod_name: str


@dataclass(frozen=True, slots=True)
class ReadPods:
    """Read all pods of the call: the cache may lack one that another operator claimed."""


@dataclass(frozen=True, slots=True)
class Connect:
    """Give the call to its pod, or go on following it: to the pod both are the same."""

    pod: AgentPod


@dataclass(frozen=True, slots=True)
class AskLiveKit:
    """Ask whether the agent is still in the room."""


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
class CloseRoom:
    """Delete the room."""


@dataclass(frozen=True, slots=True)
class ConfirmGone:
    """Ask the API server whether the VoiceSession that owns these pods is really gone."""

    name: str


@dataclass(frozen=True, slots=True)
class Expire:
    """Delete the finished VoiceSession."""


@dataclass(frozen=True, slots=True)
class Forget:
    """Nothing is left of it."""


Step = (
    Rest
    | WriteStatus
    | Finish
    | Admit
    | MakeRoom
    | Claim
    | ReadBack
    | ReadPods
    | Connect
    | AskLiveKit
    | AskEnd
    | Dismiss
    | CloseRoom
    | ConfirmGone
    | Expire
    | Forget
)


def decide_call(view: CallView) -> Step:
    """Returns the next step for this call."""
    session = view.session
    if session is None:
        return _decide_gone(view)
    if is_finished(session):
        return _decide_finished(view, session)
    pod = choose_pod(view.pods, ended=_ended_pod(view))
    surplus = tuple(other for other in view.pods if other.live and pod and other.uid != pod.uid)
    if surplus:
        return Dismiss(surplus, EndReason.SUPERSEDED)
    if view.doubtful_claim:
        return ReadBack(view.doubtful_claim)
    if pod is None:
        return _decide_unbound(view, session)
    return _decide_bound(view, session, pod)


def choose_pod(pods: Sequence[AgentPod], ended: str | None = None) -> AgentPod | None:
    """Returns the one pod that has the call: of the highest attempt, then of the oldest claim.

    One that is over has it only if there is no other. `ended`: uid of a pod that said so before its kubelet did.
    """
    epoch = datetime.min.replace(tzinfo=UTC)

    def rank(pod: AgentPod) -> tuple[bool, int, bool, datetime, str]:
        is_over = pod.exit is not None or pod.uid == ended
        return (is_over, -pod.attempt, pod.deleting, pod.claimed_at or epoch, pod.uid)

    return min(pods, key=rank, default=None)


def _ended_pod(view: CallView) -> str | None:
    return view.link.pod_uid if view.link and view.link.ended else None


def room_rank(session: VoiceSession, *, bound: bool) -> tuple[bool, datetime, str]:
    """Returns by what calls for the same room are ordered; the least has it.

    Who has a pod stays; else the oldest. Creation times are whole seconds, so the uid may have to decide.
    """
    metadata = session.metadata
    return (not bound, metadata.creation_timestamp or datetime.max.replace(tzinfo=UTC), metadata.uid)


# Without a pod


def _decide_unbound(view: CallView, session: VoiceSession) -> Step:  # noqa: PLR0911 - an ordered list of questions
    if view.accepted or _has_joined(session):
        return _finish_dead(view, session, view.last_pod)
    if _is_end_wanted(session):
        return _finish_wanted(view, session)
    if view.rival:
        return _finish_rival(view, session)
    if isinstance(view.serving, Problem):
        return _decide_problem(view, session, view.serving)
    if not view.admitted:
        return _refuse(view, session, view.limit) if view.limit else Admit()
    if view.claims >= MAX_CLAIMS:
        return _refuse(view, session, _assignment_problem(view))
    if view.room_is_ours and view.room_made_at is None:
        return _decide_room(view, session)
    if view.pod_available:
        return _decide_claim(view, session)
    return _decide_waiting(view, session)


def _decide_problem(view: CallView, session: VoiceSession, problem: Problem) -> Step:
    patience = view.arrived_at + REFERENCE_GRACE
    if view.now >= patience:
        return _refuse(view, session, problem)
    return _tell(session, report_waiting(session, problem.reason, problem.message, view.now), patience)


def _decide_room(view: CallView, session: VoiceSession) -> Step:
    if view.livekit_error is None:
        return MakeRoom()
    message = f"LiveKit does not answer, so there is no room yet: {view.livekit_error}"
    if view.now >= view.arrived_at + LIVEKIT_PATIENCE:
        return _refuse(view, session, Problem(Reason.LIVEKIT_UNAVAILABLE, message))
    told = find_condition(session.status.conditions, ConditionType.AGENT_JOINED)
    if told is None or told.reason != Reason.LIVEKIT_UNAVAILABLE:
        return WriteStatus(report_livekit_unavailable(session, message, view.now))
    return MakeRoom()


def _decide_claim(view: CallView, session: VoiceSession) -> Step:
    if view.claim_refused_at is None:
        return Claim(attempt=view.claims + 1)
    if view.now >= view.gives_up_at:
        message = f"No pod could be claimed. The API server says: {view.claim_refusal}"
        return _refuse(view, session, Problem(Reason.ASSIGNMENT_FAILED, message))
    again = view.claim_refused_at + CLAIM_AGAIN
    return Claim(attempt=view.claims + 1) if view.now >= again else Rest(min(again, view.gives_up_at))


def _decide_waiting(view: CallView, session: VoiceSession) -> Step:
    deadline = view.gives_up_at
    if view.now >= deadline:
        return _refuse(view, session, _no_pod_problem(view))
    tell_at = view.waiting_since + WORTH_TELLING
    if view.now < tell_at:
        return Rest(min(tell_at, deadline))
    if view.trouble:
        report = report_waiting(session, view.trouble.reason, view.trouble.message, view.now)
    else:
        report = report_waiting(session, Reason.WAITING_FOR_POD, "No pod is ready; one is being started.", view.now)
    return _tell(session, report, deadline)


def _no_pod_problem(view: CallView) -> Problem:
    seconds = round((view.now - view.waiting_since).total_seconds())
    if view.trouble:
        return Problem(view.trouble.reason, f"No pod within {seconds} s: {view.trouble.message}")
    pool = view.serving.pool.metadata.name if isinstance(view.serving, Serving) else "?"
    advice = "Raise its `warm.min` or `warm.buffer`, or give the cluster more room."
    return Problem(Reason.NO_CAPACITY, f"AgentPool {pool!r} had no pod within {seconds} s. {advice}")


def _assignment_problem(view: CallView) -> Problem:
    detail = view.link.detail if view.link else ""
    return Problem(
        Reason.ASSIGNMENT_FAILED,
        f"{view.claims} pods were claimed and none accepted the call. {detail} Look at the pool's pods and their logs.",
    )


# With a pod


def _decide_bound(  # noqa: PLR0911 - an ordered list of questions
    view: CallView, session: VoiceSession, pod: AgentPod
) -> Step:
    link = view.link if view.link and view.link.pod_uid == pod.uid else None
    if link and link.ended:
        return _finish_ended(view, session, pod, link.ended.reason, link.ended.message)
    if pod.exit:
        return _decide_exited(view, session, pod)
    if view.rival:
        return _finish_rival(view, session)
    if _is_end_wanted(session):
        return _decide_end(view, session, pod)
    if link is None:
        return _decide_connect(view, session, pod)
    match link.state:
        case LinkState.DEAD:
            return _decide_dead(view, session, pod, link)
        case LinkState.REFUSED | LinkState.SILENT:
            return _decide_unheard(view, session, pod, link)
        case LinkState.CONNECTING | LinkState.FOLLOWING:
            return _decide_alive(view, session, pod, link)


def _decide_connect(view: CallView, session: VoiceSession, pod: AgentPod) -> Step:
    # A call in progress goes on without its profile or pool; one that is still to be given to its pod cannot.
    if isinstance(view.serving, Problem) and not _has_joined(session):
        return _refuse(view, session, view.serving)
    return Connect(pod)


def _decide_exited(view: CallView, session: VoiceSession, pod: AgentPod) -> Step:
    assert pod.exit is not None  # noqa: S101 - the caller looked
    termination = pod.exit.termination
    if termination and termination.reason in set(EndReason):
        return _finish_ended(view, session, pod, EndReason(termination.reason), termination.message)
    return _dismiss_or_finish(view, session, pod)


def _decide_end(view: CallView, session: VoiceSession, pod: AgentPod) -> Step:
    if view.end_asked_at is None:
        return AskEnd(pod, EndReason.ENDED_BY_REQUEST)
    patience = view.end_asked_at + END_PATIENCE
    return Rest(patience) if view.now < patience else _finish_wanted(view, session)


def _decide_dead(view: CallView, session: VoiceSession, pod: AgentPod, link: LinkView) -> Step:
    if not _was_accepted(view, session):
        return _dismiss_or_finish(view, session, pod)
    patience = link.since + EXIT_GRACE
    return Rest(patience) if view.now < patience else _dismiss_or_finish(view, session, pod)


def _decide_unheard(view: CallView, session: VoiceSession, pod: AgentPod, link: LinkView) -> Step:
    """A pod that is silent, or that refuses us (our key is not what it was), may be in its call all right."""
    if not _was_accepted(view, session) or view.agent_absent:
        return _dismiss_or_finish(view, session, pod)
    ask_at = view.asked_livekit_at + ASK_LIVEKIT_EVERY if view.asked_livekit_at else link.since
    return AskLiveKit() if view.now >= ask_at else Rest(ask_at)


def _decide_alive(view: CallView, session: VoiceSession, pod: AgentPod, link: LinkView) -> Step:
    if link.deletion_requested and not view.room_closed:
        return CloseRoom()
    if _has_joined(session):
        return Rest()
    bound_at = pod.claimed_at or view.arrived_at
    if link.joined:
        return WriteStatus(_joined_status(view, session, pod, link))
    if view.now >= bound_at + JOIN_TIMEOUT:
        problem = Problem(Reason.ASSIGNMENT_FAILED, f"The agent in pod {pod.name} did not join within 30 s.")
        return _refuse(view, session, problem, died=link.accepted)
    if view.now < bound_at + WORTH_TELLING:
        return Rest(bound_at + WORTH_TELLING)
    provider = _provider_of(view)
    status = report_starting(session, pod, view.room, view.start_type, provider, view.now)
    return _tell(session, status, bound_at + JOIN_TIMEOUT)


def _joined_status(view: CallView, session: VoiceSession, pod: AgentPod, link: LinkView) -> VoiceSessionStatus:
    joined_at = link.joined_at or view.now
    return report_joined(
        session,
        pod,
        view.room,
        link.joined.room_sid if link.joined else None,
        view.start_type,
        _provider_of(view),
        max(0, round((joined_at - view.arrived_at) / timedelta(milliseconds=1))),
        joined_at,
    )


def _dismiss_or_finish(view: CallView, session: VoiceSession, pod: AgentPod) -> Step:
    """The pod cannot serve the call any more: another one may, as long as none has accepted it.

    A recovery (another pod for a call that was accepted) would be decided here, from `view.claims`.
    """
    if _was_accepted(view, session):
        return _finish_dead(view, session, pod)
    if pod.live:
        return Dismiss((pod,), EndReason.SUPERSEDED, lost=True)
    return _decide_unbound(view, session)


# The end


def _finish_ended(view: CallView, session: VoiceSession, pod: AgentPod, end_reason: EndReason, message: str) -> Step:
    reason = {EndReason.ERROR: Reason.AGENT_ERROR, EndReason.SUPERSEDED: Reason.SUPERSEDED}.get(
        end_reason, Reason.CALL_ENDED
    )
    if end_reason is EndReason.SUPERSEDED and not view.pods_read:
        return ReadPods()
    text = message or f"The call ended: {end_reason.value}."
    return Finish(report_finished(session, reason, text, end_reason, view.now, pod, view.room))


def _finish_dead(view: CallView, session: VoiceSession, pod: AgentPod | None) -> Step:
    if not view.pods_read:
        return ReadPods()
    reason, message = judge_death(pod, view.link)
    status = report_finished(session, reason, message, EndReason.ERROR, view.now, pod, view.room)
    return Finish(status, died=True)


def judge_death(pod: AgentPod | None, link: LinkView | None) -> tuple[Reason, str]:
    """Returns why an agent that had accepted its call is gone."""
    if pod is None:
        return Reason.AGENT_CRASHED, "The agent's pod is gone."
    if pod.exit and pod.exit.out_of_memory:
        return (
            Reason.OUT_OF_MEMORY,
            f"The agent in pod {pod.name} took more memory than its limit. Raise the pool's `resources.memoryLimit`.",
        )
    if pod.exit:
        return Reason.AGENT_CRASHED, f"The agent in pod {pod.name} ended without a reason: {pod.exit.detail}."
    if pod.evicted or (link and link.state is LinkState.SILENT):
        return Reason.NODE_LOST, f"Node {pod.node or '?'} with pod {pod.name} is lost."
    return Reason.AGENT_CRASHED, f"The agent in pod {pod.name} is gone."


def _finish_wanted(view: CallView, session: VoiceSession) -> Step:
    message = "The call was ended by `spec.end`."
    end_reason = EndReason.ENDED_BY_REQUEST
    status = report_finished(session, Reason.CALL_ENDED, message, end_reason, view.now, view.last_pod, view.room)
    return Finish(status, died=view.accepted)


def _finish_rival(view: CallView, session: VoiceSession) -> Step:
    message = f"VoiceSession {view.rival} has room {view.room!r}. End it first, or name another room."
    status = report_finished(session, Reason.ROOM_TAKEN, message, None, view.now, view.last_pod, view.room)
    return Finish(status)


def _refuse(view: CallView, session: VoiceSession, problem: Problem, *, died: bool = False) -> Step:
    status = report_finished(session, problem.reason, problem.message, None, view.now, view.last_pod, view.room)
    return Finish(status, refusal=problem, died=died)


def _decide_finished(view: CallView, session: VoiceSession) -> Step:
    live = tuple(pod for pod in view.pods if not pod.deleting)
    if live:
        return Dismiss(live, session.status.end_reason or EndReason.SUPERSEDED)
    ended_at = session.status.ended_at or view.now
    expires_at = ended_at + _kept(view, session)
    # Not a room that another call has, nor for ever: a closed-down LiveKit must not keep VoiceSessions.
    if not view.room_closed and not view.rival and view.now < expires_at:
        return CloseRoom()
    if session.metadata.deletion_timestamp:
        return Rest()
    return Expire() if view.now >= expires_at else Rest(expires_at)


def _decide_gone(view: CallView) -> Step:
    live = tuple(pod for pod in view.pods if not pod.deleting)
    if live and not view.known_deleted:
        return ConfirmGone(live[0].owner_name or "")
    if live:
        return Dismiss(live, EndReason.ENDED_BY_REQUEST)
    return Forget() if view.room_closed or view.rival else CloseRoom()


# Small questions


def _tell(session: VoiceSession, status: VoiceSessionStatus, until: datetime) -> Step:
    return Rest(until) if _says_the_same(session.status, status) else WriteStatus(status)


def _says_the_same(before: VoiceSessionStatus, after: VoiceSessionStatus) -> bool:
    return (before.phase, before.reason, before.message) == (after.phase, after.reason, after.message)


def _has_joined(session: VoiceSession) -> bool:
    joined = find_condition(session.status.conditions, ConditionType.AGENT_JOINED)
    return joined is not None and joined.status == "True"


def _was_accepted(view: CallView, session: VoiceSession) -> bool:
    return view.accepted or _has_joined(session) or bool(view.link and view.link.accepted)


def _is_end_wanted(session: VoiceSession) -> bool:
    return session.spec.end or session.metadata.deletion_timestamp is not None


def _provider_of(view: CallView) -> str:
    return view.serving.provider if isinstance(view.serving, Serving) else ""


def _kept(view: CallView, session: VoiceSession) -> timedelta:
    """Returns how long the finished VoiceSession is kept; without its profile, as the API's defaults say."""
    limits = view.serving.limits if isinstance(view.serving, Serving) else EffectiveLimits()
    ttl = limits.narrowed_by(session.spec.limits).ttl_seconds_after_finished
    return view.admission.kept_after_finish(session, ttl)
