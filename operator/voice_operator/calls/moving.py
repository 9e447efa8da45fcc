"""What is next for a call on its way to another pod: the steps that `hand_over` tells of. Pure."""

from dataclasses import replace
from datetime import datetime, timedelta

from voice_operator.calls.deaths import recovery_delay
from voice_operator.calls.hand_over import (
    ANSWER_MARGIN,
    ASK_AGAIN,
    LATE_PATIENCE,
    LOOK_EVERY,
    READY_PATIENCE,
    TAKE_OVER_AGAIN,
    TAKE_OVER_PATIENCE,
    Trigger,
    is_lost,
)
from voice_operator.calls.steps import (
    AskHandOver,
    CallView,
    Claim,
    Collect,
    ConnectStandby,
    Dismiss,
    GiveBack,
    JoinLine,
    Moved,
    Number,
    Rest,
    Step,
    TakeOver,
    TellLate,
)
from voice_operator.pods.agent_pod import AgentPod
from voice_operator.pods.link_view import LinkState, LinkView
from voicesession.models import EndReason, VoiceSession, VoiceSessionStatus
from voicesession.serving import Serving


def wants_standby(view: CallView) -> bool:
    """Tells whether a call whose agent talks is to have another pod, and has none yet."""
    if view.trigger is None or view.standby or view.memory.move.told_to:
        return False
    return view.trigger is not Trigger.OUTDATED or view.fresh_pod


def decide_moving(
    view: CallView, session: VoiceSession, pod: AgentPod, link: LinkView, used_number: int | None
) -> Step:
    """Returns the next step for a call whose agent talks, and is heard; Rest where none is due.

    `used_number`: as for any other claim, what is to be written down before.
    """
    if step := _decide_leaving(view, pod):
        return step
    standby, serving = view.standby, view.serving
    if view.trigger is None or not isinstance(serving, Serving):
        # What called for it is gone.
        return Dismiss((standby,), EndReason.SUPERSEDED, lost=True) if standby and standby.live else Rest()
    if standby is None:
        return _decide_claim(view, session, pod, serving, used_number)
    return _prepare(view, session, standby, serving) or _decide_hand_over(view, session, pod, standby, link, serving)


def _prepare(view: CallView, session: VoiceSession, standby: AgentPod, serving: Serving) -> Step | None:
    """Returns what is to be done until the pod stands ready."""
    beside = link_to(view, standby)
    if is_lost(standby, beside, view.now):
        return Dismiss((standby,), EndReason.SUPERSEDED, lost=True)
    if beside is None:
        return ConnectStandby(session, standby, serving)
    return None if beside.ready else Rest((beside.answered_at or view.now) + READY_PATIENCE)


def _decide_claim(
    view: CallView, session: VoiceSession, pod: AgentPod, serving: Serving, used_number: int | None
) -> Step:
    move = view.memory.move
    next_at = move.lost_at + recovery_delay(move.standbys + 1) if move.lost_at else view.now
    if view.now < next_at:
        return Rest(next_at)
    if not wants_standby(view):
        return Rest(view.now + LOOK_EVERY)
    if view.line is None:
        return JoinLine(serving.pool.metadata.name, afresh=not (view.trigger and view.trigger.is_urgent))
    refusal = view.memory.claim_refusal
    if not view.pod_available or (refusal and view.now < refusal.at + ASK_AGAIN):
        return Rest(view.now + LOOK_EVERY)  # woken as soon as there is one
    if used_number is not None:
        return Number(session, session.status.model_copy(update={"attempts": used_number}), used_number)
    # A pod that is up to date is what it is all for, on whichever node.
    avoid = None if view.trigger is Trigger.OUTDATED else pod.node
    return Claim(session, serving, view.memory.claims + 1, stands_by_for=pod.attempt, avoid=avoid)


def _decide_hand_over(
    view: CallView, session: VoiceSession, pod: AgentPod, standby: AgentPod, link: LinkView, serving: Serving
) -> Step:
    move = view.memory.move
    if link.handed:
        again = _later(move.tried_at, TAKE_OVER_AGAIN, view.now) if move.handed_at else view.now
        return TakeOver(session, standby, serving, link.handed.state) if view.now >= again else Rest(again)
    patience = serving.pool.spec.handover.patience_seconds
    if move.asked_at and view.now < (until := move.asked_at + timedelta(seconds=patience) + ANSWER_MARGIN):
        return Rest(until)
    again = _later(move.tried_at, ASK_AGAIN, view.now)
    return AskHandOver(pod, patience) if view.now >= again else Rest(again)


def is_taking_over(view: CallView, session: VoiceSession, pod: AgentPod) -> bool:
    """Tells whether a pod was told to join in the place of one that is not lost."""
    return view.memory.move.told_to == pod.uid and pod.stands_by_for > (session.status.lost_attempt or 0)


def decide_taking_over(view: CallView, session: VoiceSession, pod: AgentPod, joined: VoiceSessionStatus) -> Step | None:
    """Returns the next step for a call whose standby was told to join; None where it is as any pod that is to join.

    `joined`: what the status says when it has.
    """
    link, before = link_to(view, pod), view.beside
    told_at = view.memory.move.told_at or view.now
    if link and link.joined:
        return Moved(session, joined, link.joined_at or view.now)
    is_late = view.now >= told_at + TAKE_OVER_PATIENCE or is_lost(pod, link, view.now)
    if before is None or before.ended or before.state is not LinkState.FOLLOWING:
        return None if is_late else Rest(told_at + TAKE_OVER_PATIENCE)
    return GiveBack(pod) if is_late or before.handed is None else Rest(told_at + TAKE_OVER_PATIENCE)


def _decide_leaving(view: CallView, pod: AgentPod) -> Step | None:
    """Returns the next step with a pod whose call another one has taken over, if there is such a pod."""
    link, move = view.beside, view.memory.move
    if link is None or (view.standby and view.standby.uid == link.pod_uid):
        return None
    if link.late and link.late != move.late:
        return TellLate(pod, link.late)
    old = next((other for other in view.pods if other.uid == link.pod_uid), None)
    if old is None or old.uid == pod.uid or old.exit or view.trigger:
        return None
    late_until = (move.told_at or view.now) + LATE_PATIENCE
    if link.ended is None and link.state is LinkState.FOLLOWING and view.now < late_until:
        return Rest(late_until)
    if old.uid not in view.memory.collected:
        return Collect(old)  # what it could not write
    return Dismiss((old,), EndReason.SUPERSEDED) if old.live else None


def is_leaving(view: CallView, pod: AgentPod) -> bool:
    """Tells whether a pod has just handed its call over: it may have something to tell yet."""
    return view.beside is not None and view.beside.pod_uid == pod.uid and view.memory.move.told_at is not None


def link_to(view: CallView, pod: AgentPod) -> LinkView | None:
    """Returns what a pod has told, or None while it is not followed."""
    return next((link for link in view.links if link.pod_uid == pod.uid), None)


def sooner(step: Rest, other: Step) -> Step:
    """Returns the step that is due of the two; of two rests the shorter."""
    if not isinstance(other, Rest):
        return other
    times = [rest.until for rest in (step, other) if rest.until]
    return replace(step, until=min(times, default=None))


def _later(moment: datetime | None, by: timedelta, now: datetime) -> datetime:
    return moment + by if moment else now
