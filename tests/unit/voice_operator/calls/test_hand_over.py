"""Why a call is to go to another pod, and which of its pods has it meanwhile."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from testing.operator_objects import NOW, make_claimed_pod, make_pool, make_session
from voice_operator.calls.hand_over import READY_PATIENCE, Move, Trigger, find_trigger, is_lost, stands_by
from voice_operator.pods.agent_pod import AgentPod, PodExit
from voice_operator.pods.link_view import LinkState, LinkView
from voicesession.assignment import CallEnded, Joined, TerminationMessage
from voicesession.models import EndReason, OnDrain

OLD = make_claimed_pod("old")
STANDBY = make_claimed_pod("new", attempt=2, stands_by_for=1)
SUPERSEDED = TerminationMessage(reason="superseded")


@pytest.mark.parametrize(
    ("pod", "spec", "pool", "trigger"),
    [
        ({}, {}, {}, None),
        ({"deleting": True}, {}, {}, Trigger.DELETED),
        ({"evicted": True}, {}, {}, Trigger.EVICTED),
        ({"evicted": True, "deleting": True}, {"move": "now"}, {}, Trigger.EVICTED),
        ({"evicted": True, "deleting": True, "on_drain": OnDrain.WAIT}, {}, {}, None),
        ({}, {"move": "now"}, {}, Trigger.REQUESTED),
        ({}, {"move": "now", "status_moved": "before"}, {}, Trigger.REQUESTED),
        ({}, {"move": "now", "status_moved": "now"}, {}, None),
        ({"template": "old"}, {}, {}, None),
        ({"template": "old"}, {}, {"rollout": {"longCalls": "Move"}}, Trigger.OUTDATED),
        ({}, {}, {"rollout": {"longCalls": "Move"}}, None),
        # Its profile is served by another pool now: that is none of this pod's.
        ({"template": "old", "pool": "another"}, {}, {"rollout": {"longCalls": "Move"}}, None),
    ],
)
def test_why_a_call_leaves_its_pod(
    pod: dict[str, Any], spec: dict[str, Any], pool: dict[str, Any], trigger: Trigger | None
) -> None:
    assert find_trigger(make_claimed_pod(**pod), make_session(**spec), make_pool(**pool), "now") is trigger


def told(pod: AgentPod, **known: Any) -> LinkView:
    return LinkView(pod.uid, LinkState.FOLLOWING, NOW, **known)


def exited(pod: AgentPod, termination: TerminationMessage | None) -> AgentPod:
    return replace(pod, exit=PodExit(0, False, termination, "Completed"))


JOINED = Joined(at=NOW, connect_millis=1, joined_millis=1)


@pytest.mark.parametrize(
    ("old", "status", "move", "links", "expected"),
    [
        (OLD, {}, Move(), [], True),
        (OLD, {"status_pod_name": "old"}, Move(), [told(STANDBY, ready=True)], True),
        # It was told to join, here or by an operator before.
        (OLD, {}, Move(told_to=STANDBY.uid), [], False),
        (OLD, {}, Move(), [told(STANDBY, joined=JOINED)], False),
        (OLD, {"status_pod_name": "new"}, Move(), [], False),
        (OLD, {}, Move(), [told(OLD, ended=CallEnded(at=NOW, reason=EndReason.SUPERSEDED))], False),
        (exited(OLD, SUPERSEDED), {}, Move(), [], False),
        # The old one is lost: whose the call is then, its loss says.
        (exited(OLD, None), {}, Move(), [], True),
        (None, {}, Move(), [], True),
        (OLD, {"status_lost_attempt": 1}, Move(), [], False),
    ],
)
def test_who_stands_by_has_no_call_until_it_took_it_over(
    old: AgentPod | None, status: dict[str, Any], move: Move, links: list[LinkView], expected: bool
) -> None:
    pods = [STANDBY, *([old] if old else [])]
    assert stands_by(STANDBY, pods, make_session(**status), move, links) is expected


def test_who_was_claimed_for_a_call_without_a_pod_stands_by_for_nobody() -> None:
    assert not stands_by(OLD, [OLD], make_session(), Move(), [])


@pytest.mark.parametrize(
    ("pod", "link", "lost"),
    [
        (STANDBY, None, False),
        (STANDBY, told(STANDBY), False),
        (STANDBY, told(STANDBY, answered_at=NOW - READY_PATIENCE), True),
        (STANDBY, told(STANDBY, answered_at=NOW - READY_PATIENCE, ready=True), False),
        (STANDBY, told(STANDBY, ended=CallEnded(at=NOW, reason=EndReason.ERROR)), True),
        (STANDBY, LinkView(STANDBY.uid, LinkState.DEAD, NOW), True),
        (STANDBY, LinkView(STANDBY.uid, LinkState.SILENT, NOW), True),
        (STANDBY, LinkView(STANDBY.uid, LinkState.REFUSED, NOW), True),
        (STANDBY, LinkView(STANDBY.uid, LinkState.CONNECTING, NOW - timedelta(hours=1)), False),
        (replace(STANDBY, deleting=True), told(STANDBY, ready=True), True),
        (exited(STANDBY, None), None, True),
    ],
)
def test_a_standby_that_will_not_join_is_lost(pod: AgentPod, link: LinkView | None, lost: bool) -> None:
    assert is_lost(pod, link, NOW) is lost
