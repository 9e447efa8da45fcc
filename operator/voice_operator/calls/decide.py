"""What to do next for one call, given all that is known of it. Pure: the reconciler observes before and acts after.

One decision is one step. The reconciler takes it, looks again and decides again, until there is nothing left but to
wait; so each step has to be safe to repeat, and an operator that dies between two steps is continued by the next one.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from voice_operator.calls.deaths import NODES_FAULT, RECOVERED, Death, judge_death
from voice_operator.calls.memory import CallMemory
from voice_operator.calls.moving import (
    decide_moving,
    decide_taking_over,
    is_leaving,
    is_taking_over,
    link_to,
    sooner,
    wants_standby,
)
from voice_operator.calls.status import (
    report_customer,
    report_finished,
    report_joined,
    report_livekit_unavailable,
    report_lost,
    report_moved,
    report_numbered,
    report_returned,
    report_starting,
    report_waiting,
)
from voice_operator.calls.steps import (
    AskEnd,
    AskForPod,
    AskLiveKit,
    Begin,
    CallView,
    Claim,
    CloseConversation,
    CloseRoom,
    Collect,
    ConfirmGone,
    Connect,
    Dismiss,
    Expire,
    Finish,
    Forget,
    JoinLine,
    LeaveLine,
    Lose,
    MakeRoom,
    Number,
    ReadBack,
    ReadPods,
    Rest,
    Retire,
    Step,
    TakeOver,
    TellCause,
    TellOtherAgent,
    TellRefusal,
    WriteStatus,
    is_end_wanted,
    is_given_up,
)
from voice_operator.calls.work import decide_work, find_work_of_gone
from voice_operator.pods.agent_pod import AgentPod, PodExit
from voice_operator.pods.link_view import LinkState, LinkView
from voicesession.admission import is_finished, may_leave_room_to_people
from voicesession.conditions import ConditionType, Reason, find_condition, is_agent_at_work
from voicesession.models import EffectiveLimits, EndReason, VoiceSession, VoiceSessionStatus
from voicesession.names import END_REASON_ANNOTATION
from voicesession.serving import Problem, Serving

# A VoiceSession may be applied just before its profile or pool.
REFERENCE_GRACE = timedelta(seconds=5)
# Waiting or joining for longer than this is worth a write of its own.
WORTH_TELLING = timedelta(seconds=1)
JOIN_TIMEOUT = timedelta(seconds=30)
LIVEKIT_PATIENCE = timedelta(seconds=120)
# After the pod's port refused us: for the kubelet (0.4-1 s, more on a busy node) to say how the process ended.
EXIT_GRACE = timedelta(seconds=10)
# A pod that lives on a node that is cut off is asked for so long for what it holds.
RETIRE_PATIENCE = timedelta(seconds=60)
# A third of all pods is not heard at once: it is most likely us who are cut off, and their agents talk.
CUT_OFF_PATIENCE = timedelta(seconds=30)
# A pod that this process has not heard yet, and asked several times: after a restart it has thousands to ask.
FIRST_ANSWER_PATIENCE = timedelta(seconds=10)
# An agent that has left its room may still be writing, while its pod does not tell us (our key is not what it was).
LEAVE_PATIENCE = timedelta(seconds=30)
# A pod whose port takes connections, and that answers nothing for so long, hangs.
HUNG_PATIENCE = timedelta(seconds=30)
# A silent pod that LiveKit still sees in the room may just be cut off from us.
ASK_LIVEKIT_EVERY = timedelta(seconds=3)
# A pod holds what it could not write for 330 s.
COLLECT_PATIENCE = timedelta(seconds=360)
END_PATIENCE = timedelta(seconds=20)
# The longest goodbye of a profile is said in less.
GOODBYE_PATIENCE = timedelta(seconds=130)
ASK_END_AGAIN = timedelta(seconds=1)
# An agent ends its call itself when it has lasted long enough, and says goodbye.
DURATION_MARGIN = timedelta(seconds=30)
# An agent that is out of its room ends its call itself when it cannot come back.
ROOM_MARGIN = timedelta(seconds=15)
# A claim is refused by wrong rights or an admission policy, which somebody may be putting right.
CLAIM_AGAIN = timedelta(seconds=1)
# Pods that died, or refused, before they accepted the call; counted anew after an agent was lost.
MAX_CLAIMS = 3


def decide_call(view: CallView) -> Step:
    """Returns the next step for this call."""
    if view.line is not None and view.line != _due_line(view):
        return LeaveLine(view.line)
    if view.unreadable:
        return Rest()  # it is another release's, and its pod serves it
    if view.session is None:
        return _decide_gone(view)
    if is_finished(view.session):
        return _decide_finished(view, view.session)
    return _decide_in_progress(view, view.session)


def _due_line(view: CallView) -> str | None:
    """Returns the pool in whose line the call may stand, or None: who gave up takes no place from others."""
    if isinstance(view.serving, Problem) or (
        view.session and (is_finished(view.session) or is_end_wanted(view.session))
    ):
        return None
    if view.standby or (any(pod.live for pod in view.carriers) and not wants_standby(view)):
        return None
    return view.serving.pool.metadata.name


def _decide_in_progress(view: CallView, session: VoiceSession) -> Step:
    pod = view.pod
    surplus = tuple(other for other in view.carriers if other.live and pod and other.uid != pod.uid)
    if surplus:
        return Dismiss(surplus, EndReason.SUPERSEDED)
    if view.memory.unanswered_claim:
        return ReadBack(view.memory.unanswered_claim)
    if late := _find_late_end(view, session, pod):
        return late
    if pod:
        step = _find_taking_over(view, session, pod) or _decide_bound(view, session, pod)
    else:
        step = _decide_unbound(view, session)
    return _decide_at_rest(view, session, pod, step) if isinstance(step, Rest) else step


def _find_taking_over(view: CallView, session: VoiceSession, pod: AgentPod) -> Step | None:
    if not is_taking_over(view, session, pod) or _has_joined(session, pod) or _find_wanted_end(view, session):
        return None
    return decide_taking_over(view, session, pod, _joined_status(view, session, pod, link_to(view, pod)))


def _decide_at_rest(view: CallView, session: VoiceSession, pod: AgentPod | None, rest: Rest) -> Step:
    """Returns what is to be done where the call itself only waits: with other pods, or to have another."""
    if cause := _find_late_cause(view, session):
        return cause
    joined = pod if pod and _has_joined(session, pod) else None
    keeps = [*view.carriers, view.standby]
    had_it = [other for other in view.pods if other not in keeps and not is_leaving(view, other)]
    step = _retire_lost(view, session, had_it, rest, has_next=joined is not None)
    link = _link_to(view, joined)
    if joined is None or link is None or link.state is not LinkState.FOLLOWING or not isinstance(step, Rest):
        return step
    return sooner(step, decide_moving(view, session, joined, link, _unwritten_number(view.memory, session)))


# Without a pod


def _decide_unbound(view: CallView, session: VoiceSession) -> Step:  # noqa: PLR0911 - an ordered list of questions
    memory, serving = view.memory, view.serving
    if memory.attempt.accepted or _has_joined(session):
        return _decide_death(view, session, memory.last_pod and replace(memory.last_pod, deleting=True))
    if end := _find_wanted_end(view, session):
        return _finish_wanted(view, session, end[0])
    if returned := _find_returned(view, session):
        return WriteStatus(session, returned)
    if view.rival:
        return _finish_rival(view, session, view.rival)
    if isinstance(serving, Problem):
        return _decide_problem(view, session, serving)
    if not memory.begun:
        return _refuse(view, session, view.limit) if view.limit else Begin()
    if memory.tries >= MAX_CLAIMS:
        return _refuse(view, session, _assignment_problem(view))
    if session.spec.room is None and memory.room_made_at is None and session.status.agent_joined_at is None:
        return _decide_room(view, session, serving)
    if view.now < view.next_claim_at:
        return Rest(view.next_claim_at)
    if view.line is None:
        return JoinLine(serving.pool.metadata.name)
    if view.pod_available:
        return _decide_claim(view, session, serving)
    return _decide_waiting(view, session, view.line)


def _decide_problem(view: CallView, session: VoiceSession, problem: Problem) -> Step:
    patience = view.memory.waiting_since + REFERENCE_GRACE
    if view.now >= patience:
        return _refuse(view, session, problem)
    return _tell(session, report_waiting(session, problem.reason, problem.message, view.wall), patience)


def _decide_room(view: CallView, session: VoiceSession, serving: Serving) -> Step:
    again = MakeRoom(session, serving.limits)
    if view.memory.livekit_error is None:
        return again
    message = f"LiveKit does not answer, so there is no room yet: {view.memory.livekit_error}"
    if view.now >= view.memory.arrived_at + LIVEKIT_PATIENCE:
        return _refuse(view, session, Problem(Reason.LIVEKIT_UNAVAILABLE, message))
    told = find_condition(session.status.conditions, ConditionType.AGENT_JOINED)
    if told is None or told.reason != Reason.LIVEKIT_UNAVAILABLE:
        return WriteStatus(session, report_livekit_unavailable(session, message, view.wall))
    return again


def _decide_claim(view: CallView, session: VoiceSession, serving: Serving) -> Step:
    used = _unwritten_number(view.memory, session)
    if used is not None:
        return Number(session, report_numbered(session, used, view.wall), used)
    claim = Claim(session, serving, attempt=view.memory.claims + 1)
    refusal = view.memory.claim_refusal
    if refusal is None:
        return claim
    if view.now >= view.gives_up_at:
        message = f"No pod could be claimed. The API server says: {refusal.message}"
        return _refuse(view, session, Problem(Reason.ASSIGNMENT_FAILED, message))
    again = refusal.at + CLAIM_AGAIN
    return claim if view.now >= again else Rest(min(again, view.gives_up_at))


def _unwritten_number(memory: CallMemory, session: VoiceSession) -> int | None:
    """Returns the number to write down before the next claim, or None.

    A number is used once: by a claim of which nobody knows whether it still takes effect, or by that of another
    process, which claims with the number after the one that is written down.
    """
    written = session.status.attempts or 0
    if memory.numbered is None or written > max(memory.numbered, memory.claims):
        return max(memory.claims, written) + 1
    return memory.claims if memory.claims > memory.numbered else None


def _decide_waiting(view: CallView, session: VoiceSession, pool: str) -> Step:
    if not view.memory.waited:
        return AskForPod(pool)
    deadline = view.gives_up_at
    if view.now >= deadline:
        return _refuse(view, session, _no_pod_problem(view, pool))
    tell_at = view.memory.waiting_since + WORTH_TELLING
    if view.now < tell_at:
        return Rest(min(tell_at, deadline))
    if view.trouble:
        report = report_waiting(session, view.trouble.reason, view.trouble.message, view.wall)
    else:
        report = report_waiting(session, Reason.WAITING_FOR_POD, "No pod is ready; one is being started.", view.wall)
    return _tell(session, report, deadline)


def _no_pod_problem(view: CallView, pool: str) -> Problem:
    seconds = round((view.now - view.memory.waiting_since).total_seconds())
    if view.trouble:
        return Problem(view.trouble.reason, f"No pod within {seconds} s: {view.trouble.message}")
    advice = "Raise its `warm.min` or `warm.buffer`, or give the cluster more room."
    return Problem(Reason.NO_CAPACITY, f"AgentPool {pool!r} had no pod within {seconds} s. {advice}")


def _assignment_problem(view: CallView) -> Problem:
    detail = view.link.detail if view.link else ""
    tries = view.memory.tries
    return Problem(
        Reason.ASSIGNMENT_FAILED,
        f"{tries} pods were claimed and none accepted the call. {detail} Look at the pool's pods and their logs.",
    )


# With a pod


def _decide_bound(view: CallView, session: VoiceSession, pod: AgentPod) -> Step:
    link = _link_to(view, pod)
    if link and link.over:
        return _decide_told_end(view, session, pod, link.over.reason, link.over.message)
    if pod.exit:
        return _decide_exited(view, session, pod, pod.exit)
    if view.rival:
        return _finish_rival(view, session, view.rival)
    end = _find_wanted_end(view, session)
    if end:
        return _decide_end(view, session, pod, link, *end)
    if link is None:
        return _decide_connect(view, session, pod)
    return _no_longer_than_it_may(view, _decide_by_link(view, session, pod, link))


def _decide_by_link(view: CallView, session: VoiceSession, pod: AgentPod, link: LinkView) -> Step:
    match link.state:
        case LinkState.DEAD:
            return _decide_dead(view, session, pod, link)
        case LinkState.REFUSED | LinkState.SILENT:
            return _decide_unheard(view, session, pod, link)
        case LinkState.CONNECTING | LinkState.FOLLOWING:
            return _decide_alive(view, session, pod, link)


def _no_longer_than_it_may(view: CallView, step: Step) -> Step:
    over_at = _over_at(view)
    if not isinstance(step, Rest) or over_at is None:
        return step
    return Rest(min(step.until, over_at) if step.until else over_at)


def _over_at(view: CallView) -> datetime | None:
    """Returns when the call has lasted longer than its agent should have let it."""
    talks_since, longest = view.memory.talks_since, view.memory.longest
    return talks_since + longest + DURATION_MARGIN if talks_since and longest else None


def _decide_connect(view: CallView, session: VoiceSession, pod: AgentPod) -> Step:
    if isinstance(view.serving, Serving):
        return Connect(session, pod, view.serving)
    # A call in progress goes on without its profile or pool; one that is still to be given to its pod cannot.
    return Connect(session, pod, None) if _has_joined(session, pod) else _refuse(view, session, view.serving)


def _decide_exited(view: CallView, session: VoiceSession, pod: AgentPod, exit_: PodExit) -> Step:
    termination = exit_.termination
    if termination and termination.reason in set(EndReason):
        return _decide_told_end(view, session, pod, EndReason(termination.reason), termination.message)
    return _dismiss_or_recover(view, session, pod)


def _decide_told_end(view: CallView, session: VoiceSession, pod: AgentPod, reason: EndReason, message: str) -> Step:
    """The agent told why it ended: because its call did, or because its pod was told to stop.

    An agent whose node was cut off may come back and take the room from the one that carried its call on.
    """
    returned = any(other.exit is None for other in view.pods if is_given_up(other, session))
    if reason in RECOVERED or (reason is EndReason.SUPERSEDED and returned):
        return _decide_death(view, session, pod)
    return _finish_ended(view, session, pod, reason, message)


def _find_wanted_end(view: CallView, session: VoiceSession) -> tuple[EndReason, datetime] | None:
    """Returns why the call shall end, and since when; None where it may go on."""
    memory = view.memory
    if is_end_wanted(session):
        return _why_end_is_wanted(session), memory.end_wanted_at or view.now
    over_at, room_gone_at = _over_at(view), _room_gone_at(view)
    if over_at and view.now >= over_at:
        return EndReason.MAX_DURATION, over_at
    if room_gone_at and view.now >= room_gone_at:
        # Where nobody has come yet, the room has closed since its customer left.
        came = _has_joined(session) or session.status.agent_joined_at is not None
        return EndReason.ROOM_CLOSED if came else EndReason.PARTICIPANT_LEFT, room_gone_at
    return None


def _room_gone_at(view: CallView) -> datetime | None:
    """Returns when the room has been missing for longer than customer and agent have to come back after an outage."""
    grace = timedelta(seconds=_limits_of(view).reconnect_grace_seconds) + ROOM_MARGIN
    return view.room_missing_since + grace if view.room_missing_since else None


def _why_end_is_wanted(session: VoiceSession) -> EndReason:
    said = session.metadata.annotations.get(END_REASON_ANNOTATION)
    return EndReason.PARTICIPANT_LEFT if said == EndReason.PARTICIPANT_LEFT else EndReason.ENDED_BY_REQUEST


def _decide_end(
    view: CallView, session: VoiceSession, pod: AgentPod, link: LinkView | None, reason: EndReason, since: datetime
) -> Step:
    memory = view.memory
    patience = memory.end_asked_at + _patience_with(link, reason) if memory.end_asked_at else since + END_PATIENCE
    if view.now >= patience or (link and link.state in {LinkState.DEAD, LinkState.REFUSED}):
        return _finish_wanted(view, session, reason)
    if link is None:
        return Connect(session, pod, None)  # only to be heard: a pod that has no call yet gets none
    if link.state is LinkState.CONNECTING or memory.end_asked_at:
        return Rest(patience)
    again = memory.end_tried_at + ASK_END_AGAIN if memory.end_tried_at else view.now
    return AskEnd(pod, reason) if view.now >= again else Rest(min(again, patience))


def _patience_with(link: LinkView | None, reason: EndReason) -> timedelta:
    """Returns how long an agent may take that was asked to end: it says goodbye where the customer is still there."""
    is_heard = link is not None and link.state is LinkState.FOLLOWING
    says_goodbye = is_heard and reason in {EndReason.ENDED_BY_REQUEST, EndReason.MAX_DURATION}
    return GOODBYE_PATIENCE if says_goodbye else END_PATIENCE


def _decide_dead(view: CallView, session: VoiceSession, pod: AgentPod, link: LinkView) -> Step:
    # Another agent waits for no word of the kubelet's; where there will be none, it says what the last one died of.
    patience = link.since + EXIT_GRACE
    if view.now < patience and _was_accepted(view, session, pod) and not _may_recover(view, session):
        return Rest(patience)
    return _dismiss_or_recover(view, session, pod)


def _decide_unheard(view: CallView, session: VoiceSession, pod: AgentPod, link: LinkView) -> Step:
    """A pod that is silent, or that refuses us (our key is not what it was), may be in its call all right.

    So may one that another process claimed: what it told, nobody here has heard.
    """
    is_known_idle = view.memory.claimed_here == pod.uid and not _was_accepted(view, session, pod)
    given_up_at = _given_up_at(view, session, pod, link)
    if is_known_idle or (given_up_at and view.now >= given_up_at):
        return _dismiss_or_recover(view, session, pod)
    asked_at = view.memory.attempt.asked_livekit_at
    ask_at = asked_at + ASK_LIVEKIT_EVERY if asked_at else link.since
    if view.now >= ask_at:
        return AskLiveKit()
    return Rest(min(ask_at, given_up_at) if given_up_at else ask_at)


def _given_up_at(view: CallView, session: VoiceSession, pod: AgentPod, link: LinkView) -> datetime | None:
    """Returns when a pod that is not heard has had its time, or None while its agent may be in its call."""
    if view.agent_absent:
        may_write = link.state is LinkState.REFUSED and _was_accepted(view, session, pod)
        return (view.memory.attempt.absent_at or view.now) + (LEAVE_PATIENCE if may_write else timedelta(0))
    if link.unanswered_since:
        return link.unanswered_since + HUNG_PATIENCE
    if link.state is LinkState.REFUSED or not _may_recover(view, session):
        return None
    # Its agent is not waited for: should it live after all, LiveKit puts it out for the next one.
    if view.cut_off:
        return link.since + CUT_OFF_PATIENCE
    # The operator that led before fell silent on the same node: that is answer enough.
    is_first = link.answered_at is None and (view.lost_node is None or pod.node != view.lost_node)
    return link.since + FIRST_ANSWER_PATIENCE if is_first else link.since


def _decide_alive(view: CallView, session: VoiceSession, pod: AgentPod, link: LinkView) -> Step:
    if link.deletion_requested and not view.memory.room_closed:
        return CloseRoom()
    if link.other_agent and not view.memory.other_agent_told:
        return TellOtherAgent(session, link.other_agent)
    if _has_joined(session, pod):
        return _decide_joined(view, session)
    if link.joined:
        return WriteStatus(session, _joined_status(view, session, pod, link))
    return _decide_joining(view, session, pod, link)


def _decide_joining(view: CallView, session: VoiceSession, pod: AgentPod, link: LinkView) -> Step:
    if pod.stands_by_for and view.memory.move.told_to != pod.uid:
        serving = view.serving if isinstance(view.serving, Serving) else None
        return TakeOver(session, pod, serving, {})  # the one that it stood by for is lost
    if link.answered_at and view.now >= link.answered_at + JOIN_TIMEOUT:
        return _decide_not_joined(view, session, pod)
    tell_at = (pod.claim_seen_at or view.memory.arrived_at) + WORTH_TELLING
    if view.now < tell_at:
        return Rest(tell_at)
    memory, provider = view.memory, _provider_of(view)
    status = report_starting(session, pod, memory.room, memory.start_type, provider, view.wall)
    # A link that connects still has not had its say; it comes to an end of its own.
    return _tell(session, status, link.answered_at + JOIN_TIMEOUT if link.answered_at else None)


def _decide_not_joined(view: CallView, session: VoiceSession, pod: AgentPod) -> Step:
    """A call that has talked goes on with the next one, elsewhere; a customer who has heard nobody yet is told."""
    death = Death(Reason.ASSIGNMENT_FAILED, f"The agent in pod {pod.name} did not join within 30 s.")
    if session.status.lost_agents and _may_recover(view, session):
        return _lose(view, session, pod, death)
    return _refuse(view, session, Problem(death.reason, death.message))


def _decide_joined(view: CallView, session: VoiceSession) -> Step:
    told, known = session.status.room_sid, view.memory.room_sid
    if told and known and told != known:
        return WriteStatus(session, report_moved(session, known))
    customer = view.memory.customer
    if customer and not session.spec.participant_identity and session.status.participant_identity != customer:
        return WriteStatus(session, report_customer(session, customer))
    return Rest()


def _joined_status(view: CallView, session: VoiceSession, pod: AgentPod, link: LinkView | None) -> VoiceSessionStatus:
    joined_at = link.joined_at if link and link.joined_at else view.now
    status = report_joined(
        session,
        pod,
        view.memory.room,
        link.joined.room_sid if link and link.joined else None,
        view.memory.start_type,
        _provider_of(view),
        view.memory.customer,
        max(0, round((joined_at - view.memory.arrived_at) / timedelta(milliseconds=1))),
        joined_at + view.wall_ahead,
    )
    # Whatever it came by, it is in another pod than it was.
    return status.model_copy(update={"moved": session.spec.move or session.status.moved})


def _dismiss_or_recover(view: CallView, session: VoiceSession, pod: AgentPod) -> Step:
    """The pod cannot serve the call any more: another one may."""
    if _was_accepted(view, session, pod):
        return _decide_death(view, session, pod)
    if pod.live:
        return Dismiss((pod,), EndReason.SUPERSEDED, lost=True)
    return _decide_unbound(view, session)


# An agent is lost


def _decide_death(view: CallView, session: VoiceSession, pod: AgentPod | None) -> Step:
    """The agent that had the call is dead: the call goes on with another one, or ends where it may have no more."""
    if end := _find_wanted_end(view, session):
        return _finish_wanted(view, session, end[0])
    death = judge_death(pod, _link_to(view, pod))
    if not _may_recover(view, session):
        return _finish_dead(view, session, pod, death)
    return _lose(view, session, pod, death)


def _lose(view: CallView, session: VoiceSession, pod: AgentPod | None, death: Death) -> Step:
    memory = view.memory
    attempt = pod.attempt if pod else max(memory.claims, session.status.attempts or 0)
    status = report_lost(session, death, attempt, memory.claims, memory.customer, view.wall)
    return Lose(session, status, pod.node if pod and death.reason in NODES_FAULT else None)


def _may_recover(view: CallView, session: VoiceSession) -> bool:
    """Tells whether another agent may have the call, should the one that has it be lost."""
    return (session.status.lost_agents or 0) + 1 < _limits_of(view).max_attempts


def _retire_lost(
    view: CallView, session: VoiceSession, had_it: Sequence[AgentPod], rest: Rest, *, has_next: bool
) -> Step:
    """Lets pods go that have lost the call, and live; of one that has exited, its logs stay until the call is over."""
    lost_at = view.memory.lost_at or view.memory.arrived_at
    for other in (each for each in had_it if each.exit is None):
        if not other.deleting and not has_next:
            continue  # it may be heard again
        is_lost = is_given_up(other, session)
        due_at = lost_at + EXIT_GRACE if is_lost and not other.deleting else view.now
        if view.now < due_at:
            return sooner(rest, Rest(due_at))
        if is_lost and other.uid not in view.memory.collected and view.now < lost_at + RETIRE_PATIENCE:
            return Retire(other)
        if not other.dismissed:
            return Dismiss((other,), EndReason.SUPERSEDED)
    return rest


def _find_late_cause(view: CallView, session: VoiceSession) -> TellCause | None:
    """Returns what is to be told where a lost agent turns out to have been out of memory: there is a remedy for it."""
    attempt = session.status.lost_attempt
    if attempt is None or attempt <= view.memory.cause_told:
        return None
    dead = next((pod for pod in view.pods if pod.attempt == attempt and pod.exit and pod.exit.out_of_memory), None)
    return TellCause(session, attempt, judge_death(dead, None)) if dead else None


def _find_late_end(view: CallView, session: VoiceSession, pod: AgentPod | None) -> Step | None:
    """Returns the end of a call whose lost agent has ended it: its last word came by its kubelet, after we gave it up.

    None where another one is in the room already: that one sees for itself who is there.
    """
    if _has_joined(session, pod):
        return None
    for other in view.pods:
        said = other.exit.termination if other.exit else None
        is_end = said and said.reason in set(EndReason) - RECOVERED - {EndReason.SUPERSEDED}
        if said and is_end and other.attempt == session.status.lost_attempt:
            return _finish_ended(view, session, other, EndReason(said.reason), said.message)
    return None


def _find_returned(view: CallView, session: VoiceSession) -> VoiceSessionStatus | None:
    """Returns the status of a call whose lost agent is heard again, before there was another one for it."""
    link = view.link
    if link is None or link.state is not LinkState.FOLLOWING or link.joined is None:
        return None
    found = (pod for pod in view.pods if pod.uid == link.pod_uid and pod.attempt == session.status.lost_attempt)
    pod = next(found, None)
    return report_returned(session, pod, view.wall) if pod and pod.live else None


# The end


def _finish_ended(view: CallView, session: VoiceSession, pod: AgentPod, end_reason: EndReason, message: str) -> Step:
    reason = {EndReason.ERROR: Reason.AGENT_ERROR, EndReason.SUPERSEDED: Reason.SUPERSEDED}.get(
        end_reason, Reason.CALL_ENDED
    )
    if end_reason is EndReason.SUPERSEDED and not view.memory.pods_read:
        return ReadPods()
    text, link = message or f"The call ended: {end_reason.value}.", _link_to(view, pod)
    works_on = link is not None and link.works_on
    status = report_finished(session, reason, text, end_reason, view.wall, pod, view.memory.room, works_on=works_on)
    return Finish(session, status) if works_on else _finish(view, session, status)


def _finish_dead(view: CallView, session: VoiceSession, pod: AgentPod | None, death: Death) -> Step:
    if not view.memory.pods_read:
        return ReadPods()
    end_reason = EndReason.SHUTDOWN if death.reason in {Reason.POD_DELETED, Reason.EVICTED} else EndReason.ERROR
    room = view.memory.room
    status = report_finished(session, death.reason, death.message, end_reason, view.wall, pod, room)
    return _finish(view, session, status, Problem(death.reason, death.message))


# Ends that the pod is asked for, as the status tells them where the pod did not.
_WANTED = {
    EndReason.ENDED_BY_REQUEST: (Reason.CALL_ENDED, "The call was ended by `spec.end`."),
    EndReason.PARTICIPANT_LEFT: (Reason.CUSTOMER_GONE, "The customer left while the call waited for its agent."),
    EndReason.ROOM_CLOSED: (Reason.CALL_ENDED, "LiveKit has no room of this call any more."),
    EndReason.MAX_DURATION: (
        Reason.CALL_ENDED,
        "The call has lasted longer than its `maxDurationSeconds`, and its agent did not end it.",
    ),
}


def _finish_wanted(view: CallView, session: VoiceSession, end_reason: EndReason) -> Step:
    (reason, message), memory = _WANTED[end_reason], view.memory
    status = report_finished(session, reason, message, end_reason, view.wall, memory.last_pod, memory.room)
    return _finish(view, session, status)


def _finish_rival(view: CallView, session: VoiceSession, rival: str) -> Step:
    memory = view.memory
    message = f"VoiceSession {rival} has room {memory.room!r}. End it first, or name another room."
    status = report_finished(session, Reason.ROOM_TAKEN, message, None, view.wall, memory.last_pod, memory.room)
    return _finish(view, session, status)


def _refuse(view: CallView, session: VoiceSession, problem: Problem) -> Step:
    pod, room = view.memory.last_pod, view.memory.room
    status = report_finished(session, problem.reason, problem.message, None, view.wall, pod, room)
    return _finish(view, session, status, problem)


def _finish(view: CallView, session: VoiceSession, status: VoiceSessionStatus, refusal: Problem | None = None) -> Step:
    return Finish(session, status, refusal, closes=_is_unclosed(view))


def _is_unclosed(view: CallView) -> bool:
    """Tells whether the conversation may be open: a pod had the call, and none has told that its end is written."""
    pod, link = view.memory.last_pod, view.link
    termination = pod.exit.termination if pod and pod.exit else None
    told = (link.ended if link and pod and link.pod_uid == pod.uid else None, termination)
    return view.memory.claims > 0 and not any(word and word.end_written for word in told)


def _decide_finished(view: CallView, session: VoiceSession) -> Step:  # noqa: PLR0911 - an ordered list of questions
    status, memory = session.status, view.memory
    leaves_people = may_leave_room_to_people(session)
    if memory.untold and not memory.room_closed and not view.rival:
        return TellRefusal(
            memory.untold, leaves_people
        )  # somebody waits to hear it; a pod may take seconds to be dismissed
    if is_agent_at_work(status.conditions):
        return decide_work(view, session, closes=_is_unclosed(view))
    holding = _find_holding(view)
    if holding and view.now < (memory.finished_at or view.now) + COLLECT_PATIENCE:
        return Collect(holding)
    live = tuple(pod for pod in view.pods if not pod.dismissed)
    if live:
        return Dismiss(live, status.end_reason or EndReason.SUPERSEDED)
    expires_at = (memory.finished_at or view.now) + _kept(view, session)
    # Not a room that another call has, nor for ever: a closed-down LiveKit must not keep VoiceSessions.
    if not memory.room_closed and not view.rival and view.now < expires_at:
        return CloseRoom(leaves_people)
    if session.metadata.deletion_timestamp:
        return Rest()
    return Expire(session) if view.now >= expires_at else Rest(expires_at)


def _find_holding(view: CallView) -> AgentPod | None:
    """Returns a pod that may hold what the database has not got of the conversation, or None.

    One that was not followed to its end may: another process finished the call. One that was, and told no end, crashed.
    """
    for pod in view.pods:
        link = view.link if view.link and view.link.pod_uid == pod.uid else None
        written = link and (link.ended is None or link.ended.end_written)
        if pod.exit is None and pod.uid not in view.memory.collected and not written:
            return pod
    return None


def _decide_gone(view: CallView) -> Step:  # noqa: PLR0911 - an ordered list of questions
    live = tuple(pod for pod in view.pods if not pod.dismissed)
    if live and not view.known_deleted:
        return ConfirmGone(live[0].owner_name or "")
    if step := find_work_of_gone(view):
        return step
    holding = _find_holding(view)
    if holding and view.now < (view.memory.gone_at or view.now) + COLLECT_PATIENCE:
        return Collect(holding)
    if live:
        return Dismiss(live, EndReason.ENDED_BY_REQUEST)
    leaves_until = (view.memory.gone_at or view.now) + END_PATIENCE
    if view.now < leaves_until and any(pod.exit is None for pod in view.pods):
        return Rest(leaves_until)  # its agent says goodbye
    if _is_unclosed(view) and not view.memory.conversation_settled:
        return CloseConversation(EndReason.ENDED_BY_REQUEST)
    # Nor for ever: rooms that nobody has are found by the room poll.
    given_up = view.memory.gone_at is not None and view.now >= view.memory.gone_at + LIVEKIT_PATIENCE
    return Forget() if view.memory.room_closed or view.rival or given_up else CloseRoom()


# Small questions


def _tell(session: VoiceSession, status: VoiceSessionStatus, until: datetime | None) -> Step:
    return Rest(until) if _says_the_same(session.status, status) else WriteStatus(session, status)


def _says_the_same(before: VoiceSessionStatus, after: VoiceSessionStatus) -> bool:
    return (before.phase, before.reason, before.message) == (after.phase, after.reason, after.message)


def _has_joined(session: VoiceSession, pod: AgentPod | None = None) -> bool:
    """Tells whether it is written that the agent is in the room: that of this pod, if one is given."""
    joined = find_condition(session.status.conditions, ConditionType.AGENT_JOINED)
    its = pod is None or session.status.pod_name in {None, pod.name}
    return its and joined is not None and joined.status == "True"


def _was_accepted(view: CallView, session: VoiceSession, pod: AgentPod) -> bool:
    attempt = view.memory.attempt
    return (attempt.accepted and attempt.pod_uid == pod.uid) or _has_joined(session, pod)


def _link_to(view: CallView, pod: AgentPod | None) -> LinkView | None:
    return view.link if view.link and pod and view.link.pod_uid == pod.uid else None


def _limits_of(view: CallView) -> EffectiveLimits:
    """Returns the call's limits; without its profile, as the API's defaults say."""
    return view.serving.limits if isinstance(view.serving, Serving) else EffectiveLimits()


def _provider_of(view: CallView) -> str:
    return view.serving.provider if isinstance(view.serving, Serving) else ""


def _kept(view: CallView, session: VoiceSession) -> timedelta:
    """Returns how long the finished VoiceSession is kept."""
    ttl = _limits_of(view).narrowed_by(session.spec.limits).ttl_seconds_after_finished
    return view.terms.admission.kept_after_finish(session, ttl)
