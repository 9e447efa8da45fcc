"""Whether a call in progress is to go to another pod, and what is next on its way there. Pure.

The next attempt's pod is claimed beside the one that has the call, and stands by: prepared for all but the joining. The
old one is asked to hand over, falls silent in a quiet moment, and tells where the conversation stands; with that the
other joins, and LiveKit puts the old one out. Whatever fails on the way, the old one goes on, or its death is a
recovery, for which the other stands ready.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from voice_operator.pods.agent_pod import AgentPod
from voice_operator.pods.link_view import LinkState, LinkView
from voicesession.assignment import HeardLate
from voicesession.models import AgentPool, EndReason, OnDrain, VoiceSession

# An agent that nobody follows goes on after 4 s: whoever was told to join has joined by then, or will not.
TAKE_OVER_PATIENCE = timedelta(seconds=6)
# The old agent tells what its customer has said last, which it may have to transcribe first.
LATE_PATIENCE = timedelta(seconds=6)
# A standby reads the conversation and builds its models.
READY_PATIENCE = timedelta(seconds=30)
# Beyond the patience for a quiet moment: then the old one is asked again.
ANSWER_MARGIN = timedelta(seconds=10)
ASK_AGAIN = timedelta(seconds=1)
TAKE_OVER_AGAIN = timedelta(seconds=0.3)
# A pool of which calls in progress follow a change is looked at so often for a pod that is up to date.
LOOK_EVERY = timedelta(seconds=5)


class Trigger(StrEnum):
    """Why a call is to leave its pod."""

    DELETED = "deleted"
    EVICTED = "evicted"
    REQUESTED = "requested"
    OUTDATED = "outdated"

    @property
    def is_urgent(self) -> bool:
        """Whether the pod goes in any case."""
        return self in {Trigger.DELETED, Trigger.EVICTED}


@dataclass(frozen=True, slots=True)
class Move:
    """What is known of a call's way to another pod; times by the steady clock."""

    trigger: Trigger | None = None
    wanted_at: datetime | None = None
    standbys: int = 0  # that were lost
    lost_at: datetime | None = None  # the last of them
    asked_at: datetime | None = None  # the old pod was asked to hand over
    tried_at: datetime | None = None  # a pod was asked for something last
    handed_at: datetime | None = None  # the old one was found to have fallen silent
    told_to: str | None = None  # uid of the standby that was told to join
    told_at: datetime | None = None
    late: HeardLate | None = None  # what was passed on last


def find_trigger(pod: AgentPod, session: VoiceSession, pool: AgentPool | None, template: str | None) -> Trigger | None:
    """Returns why the call of this pod is to go to another one, or None. `template`: what the pool's pods are now."""
    if (pod.evicted or pod.deleting) and pod.on_drain is OnDrain.MOVE:
        return Trigger.EVICTED if pod.evicted else Trigger.DELETED
    if session.spec.move is not None and session.spec.move != session.status.moved:
        return Trigger.REQUESTED
    is_outdated = pool is not None and pod.pool == pool.metadata.name and template and pod.template != template
    return Trigger.OUTDATED if pool and is_outdated and pool.spec.rollout.long_calls == "Move" else None


def stands_by(
    pod: AgentPod, pods: Sequence[AgentPod], session: VoiceSession | None, move: Move, links: Sequence[LinkView]
) -> bool:
    """Tells whether a pod was claimed for a call that another one has still."""
    if not pod.stands_by_for or pod.uid == move.told_to or session is None:
        return False
    status = session.status
    if status.pod_name == pod.name or (status.lost_attempt or 0) >= pod.stands_by_for:
        return False
    if any(link.joined for link in links if link.pod_uid == pod.uid):
        return False
    before = next((other for other in pods if other.attempt == pod.stands_by_for), None)
    # Told by an operator before this one, perhaps: nobody else puts the old one out.
    return before is None or not _is_superseded(before, links)


def _is_superseded(pod: AgentPod, links: Sequence[LinkView]) -> bool:
    termination = pod.exit.termination if pod.exit else None
    told = next((link.ended for link in links if link.pod_uid == pod.uid), None)
    reasons = {termination.reason if termination else None, told.reason.value if told else None}
    return EndReason.SUPERSEDED.value in reasons


def is_lost(standby: AgentPod, link: LinkView | None, now: datetime) -> bool:
    """Tells whether a standby will not join any more."""
    if not standby.live:
        return True
    if link is None:
        return False
    if link.ended or link.state in {LinkState.DEAD, LinkState.REFUSED, LinkState.SILENT}:
        return True
    return not link.ready and link.answered_at is not None and now >= link.answered_at + READY_PATIENCE
