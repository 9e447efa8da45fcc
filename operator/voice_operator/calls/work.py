"""What is next while the agent of a call that is over works on: tools that still ran, its code's end hooks. Pure."""

from datetime import datetime, timedelta

from voice_operator.calls.moving import link_to
from voice_operator.calls.status import report_done
from voice_operator.calls.steps import CallView, CloseRoom, Complete, Connect, Dismiss, Rest, Step
from voice_operator.pods.agent_pod import AgentPod
from voice_operator.pods.link_view import LinkState, LinkView
from voicesession.admission import may_leave_room_to_people
from voicesession.models import EndReason, VoiceSession

# Beyond what it has told that it takes at most.
WORK_MARGIN = timedelta(seconds=30)
# No customer waits for it: so it may be cut off from us for longer than an agent in a call.
WORK_SILENCE = timedelta(seconds=60)


def decide_work(view: CallView, session: VoiceSession, *, closes: bool) -> Step:
    """Returns what is next while nobody is in the agent's room any more; `closes`: as `Complete` has it."""
    pod = view.pod
    link = link_to(view, pod) if pod else None
    if pod is None or _is_over(view, pod, link):
        return Complete(session, report_done(session, _find_lost(pod, link), view.wall), closes)
    if view.standby and not view.standby.dismissed:
        return Dismiss((view.standby,), EndReason.SUPERSEDED)
    if link is None:
        return Connect(session, pod, None)
    if not view.memory.room_closed and not view.rival:
        return CloseRoom(may_leave_room_to_people(session))
    return Rest(_works_until(link))


def find_work_of_gone(view: CallView) -> Step | None:
    """Returns what is next while an agent works on whose VoiceSession is deleted; None where none does.

    Kubernetes deletes its pod along, which has its grace: nobody shortens that.
    """
    pod = view.pod
    link = link_to(view, pod) if pod else None
    if pod is None or link is None or not link.works_on or _is_over(view, pod, link):
        return None
    return Rest(_works_until(link)) if view.memory.room_closed or view.rival else CloseRoom()


def _is_over(view: CallView, pod: AgentPod, link: LinkView | None) -> bool:
    if pod.exit or (link and (link.ended or link.state in {LinkState.DEAD, LinkState.REFUSED})):
        return True
    until = _works_until(link) if link else None
    return until is not None and view.now >= until


def _works_until(link: LinkView) -> datetime | None:
    """Returns when it has had its time; None while it has not told how much it needs."""
    if link.state is LinkState.SILENT:
        return link.since + WORK_SILENCE
    return link.done_by + WORK_MARGIN if link.done_by else None


def _find_lost(pod: AgentPod | None, link: LinkView | None) -> str:
    """Returns what has become of work that is over, in a sentence; nothing where it was done."""
    if link and link.ended:
        cut_short = ", ".join(link.ended.cut_short)
        return f"The agent had no time to finish: {cut_short}." if cut_short else ""
    if pod and pod.exit and pod.exit.exit_code == 0:
        return ""  # which it has told somebody else
    return "The agent was lost, or took too long, before it had done its work."
