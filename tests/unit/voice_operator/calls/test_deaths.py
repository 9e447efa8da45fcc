"""Why an agent is gone, and how long its call waits for the next."""

from datetime import timedelta

import pytest

from testing.operator_objects import NOW, ago, make_claimed_pod
from voice_operator.calls.deaths import RECOVERED, judge_death, recovery_delay
from voice_operator.pods.agent_pod import AgentPod, PodExit
from voice_operator.pods.link_view import LinkState, LinkView
from voicesession.assignment import CallEnded, TerminationMessage
from voicesession.models import EndReason

POD = make_claimed_pod()
KILLED = PodExit(137, False, None, "Error, exit code 137")
OOM = PodExit(137, True, None, "OOMKilled, exit code 137")
HUNG = PodExit(1, False, TerminationMessage(reason="hang"), "Error, exit code 1")


def link(state: LinkState, *, unanswered: bool = False, ended: EndReason | None = None) -> LinkView:
    told = CallEnded(at=NOW, reason=ended) if ended else None
    return LinkView(POD.uid, state, NOW, ended=told, unanswered_since=ago(30) if unanswered else None)


@pytest.mark.parametrize(
    ("pod", "seen", "reason"),
    [
        (None, None, "PodDeleted"),
        (make_claimed_pod(exit=OOM), link(LinkState.DEAD), "OutOfMemory"),
        (make_claimed_pod(exit=KILLED), link(LinkState.DEAD), "AgentCrashed"),
        (make_claimed_pod(exit=HUNG), link(LinkState.DEAD), "AgentHung"),
        (POD, link(LinkState.DEAD), "AgentCrashed"),
        (POD, link(LinkState.SILENT), "NodeLost"),
        (make_claimed_pod(evicted=True, deleting=True), link(LinkState.SILENT), "NodeLost"),
        (POD, link(LinkState.SILENT, unanswered=True), "AgentHung"),
        (make_claimed_pod(deleting=True), link(LinkState.DEAD), "PodDeleted"),
        (make_claimed_pod(deleting=True, exit=KILLED), None, "PodDeleted"),
        (make_claimed_pod(evicted=True, deleting=True), link(LinkState.DEAD), "Evicted"),
        (make_claimed_pod(evicted=True), link(LinkState.FOLLOWING, ended=EndReason.SHUTDOWN), "Evicted"),
        (POD, link(LinkState.FOLLOWING, ended=EndReason.SHUTDOWN), "PodDeleted"),
    ],
)
def test_why_an_agent_is_gone(pod: AgentPod | None, seen: LinkView | None, reason: str) -> None:
    death = judge_death(pod, seen)
    assert death.reason == reason
    assert death.message


def test_of_the_ends_that_an_agent_tells_only_its_pods_leave_the_call_open() -> None:
    assert {EndReason.SHUTDOWN} == RECOVERED


def test_the_second_agent_comes_at_once_and_the_others_ever_later() -> None:
    seconds = [recovery_delay(lost) / timedelta(seconds=1) for lost in (0, 1, 2, 3, 4, 5, 6, 7, 99)]
    assert seconds == [0, 0, 1, 2, 4, 8, 15, 15, 15]
