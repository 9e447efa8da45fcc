"""What the operator reads in a Pod as the API server shows it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from voice_operator.pods.agent_pod import AgentPod, PodExit, Trouble, read_pod, with_sight
from voicesession.assignment import PROTOCOL, TerminationMessage
from voicesession.conditions import Reason
from voicesession.models import OnDrain
from voicesession.names import ON_DRAIN_LABEL

AT = "2026-01-01T12:00:00Z"
EVICTED = {"reason": "Evicted", "message": "The node was low on memory."}
WHEN = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


def raw(status: dict[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    known = {"name": "pod", "uid": "uid", "resourceVersion": "5", "creationTimestamp": AT}
    return {"metadata": {**known, **metadata}, "spec": {"nodeName": "node-1"}, "status": status or {}}


def in_state(state: dict[str, Any], phase: str = "Running") -> dict[str, Any]:
    return {"phase": phase, "containerStatuses": [{"name": "agent", "state": state}]}


def test_a_pods_key_is_read_of_its_agents_container() -> None:
    def key_of(*containers: dict[str, Any]) -> str:
        return read_pod({**raw(), "spec": {"containers": list(containers)}}).seal_key

    sidecar = {"name": "proxy", "env": [{"name": "POD_SEAL_KEY", "value": "another"}]}
    agent = {"name": "agent", "env": [{"name": "POD_UID", "valueFrom": {}}, {"name": "POD_SEAL_KEY", "value": "key"}]}
    assert key_of(sidecar, agent) == "key"
    assert key_of(sidecar, {"name": "agent"}) == ""


def test_a_claimed_pod_that_runs() -> None:
    labels = {
        "voiceagents.dev/pool": "default",
        "voiceagents.dev/state": "claimed",
        "voiceagents.dev/session": "session-uid",
        "voiceagents.dev/template": "abc",
    }
    annotations = {"voiceagents.dev/attempt": "2", "voiceagents.dev/claimed-at": "2026-01-01T12:00:00.250000+00:00"}
    status = {
        **in_state({"running": {"startedAt": AT}}),
        "podIP": "10.0.0.7",
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": AT}],
    }
    owners = [{"name": "call", "uid": "session-uid"}]
    assert read_pod(raw(status, labels=labels, annotations=annotations, ownerReferences=owners)) == AgentPod(
        name="pod",
        uid="uid",
        created_at=WHEN,
        resource_version="5",
        pool="default",
        state="claimed",
        template="abc",
        session="session-uid",
        owner_name="call",
        attempt=2,
        claimed_at=WHEN.replace(microsecond=250_000),
        ip="10.0.0.7",
        node="node-1",
        ready=True,
        ready_changed_at=WHEN,
        running_since=WHEN,
        protocol=1,  # which nobody wrote down then
    )


def test_a_pod_that_nobody_has_touched_yet() -> None:
    pod = read_pod(raw())
    assert (pod.ready, pod.ip, pod.exit, pod.trouble, pod.deleting, pod.attempt) == (False, None, None, None, False, 0)


def test_a_sidecar_is_not_taken_for_the_agent() -> None:
    status = in_state({"running": {"startedAt": AT}})
    proxy = {"name": "a-proxy", "state": {"terminated": {"exitCode": 1}}}
    pod = read_pod(raw({**status, "containerStatuses": [proxy, *status["containerStatuses"]]}))
    assert (pod.running_since, pod.exit) == (WHEN, None)


@pytest.mark.parametrize(("written", "protocol"), [("7", 7), ("one", 1), (None, 1)])
def test_what_a_pod_speaks_is_what_its_operator_spoke(written: str | None, protocol: int) -> None:
    pod = read_pod(raw(annotations={} if written is None else {"voiceagents.dev/protocol": written}))
    assert (pod.protocol, pod.understood) == (protocol, protocol == PROTOCOL)


@pytest.mark.parametrize("time", ["the day before yesterday", "2026-01-01T12:00:00", "", "7"])
@pytest.mark.parametrize("attempt", ["two", "-1", ""])
def test_annotations_that_anybody_may_have_written_are_no_reason_to_pass_a_pod_over(time: str, attempt: str) -> None:
    annotations = {"voiceagents.dev/attempt": attempt, "voiceagents.dev/claimed-at": time}
    pod = read_pod(raw(annotations=annotations))
    assert (pod.claimed_at, pod.attempt) == (None, 0)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (
            in_state(
                {"terminated": {"exitCode": 0, "reason": "Completed", "message": '{"reason":"idle","message":""}'}}
            ),
            PodExit(0, False, TerminationMessage(reason="idle"), "Completed, exit code 0"),
        ),
        (
            in_state({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}),
            PodExit(137, True, None, "OOMKilled, exit code 137"),
        ),
        (
            in_state({"terminated": {"exitCode": 1, "reason": "Error", "message": '{"reason": "id'}}),
            PodExit(1, False, None, "Error, exit code 1"),
        ),
        (
            {**in_state({"terminated": {"exitCode": 137, "reason": "Error"}}, "Failed"), **EVICTED},
            PodExit(137, False, None, "Evicted The node was low on memory."),
        ),
        (
            {"phase": "Failed", **EVICTED},
            PodExit(None, False, None, "Evicted The node was low on memory."),
        ),
        (in_state({"running": {"startedAt": AT}}), None),
    ],
)
def test_how_a_process_ended(status: dict[str, Any], expected: PodExit | None) -> None:
    pod = read_pod(raw(status))
    assert pod.exit == expected
    assert pod.live is (expected is None)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (
            {
                "conditions": [
                    {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}
                ]
            },
            Trouble(Reason.UNSCHEDULABLE, "0/1 nodes"),
        ),
        (
            in_state({"waiting": {"reason": "ImagePullBackOff", "message": "back-off"}}, "Pending"),
            Trouble(Reason.IMAGE_PULL_FAILED, "back-off"),
        ),
        (
            in_state(
                {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "x" not found'}}, "Pending"
            ),
            Trouble(Reason.POD_CONFIG_INVALID, 'secret "x" not found'),
        ),
        (in_state({"waiting": {"reason": "ContainerCreating"}}, "Pending"), None),
    ],
)
def test_why_a_pod_does_not_start(status: dict[str, Any], expected: Trouble | None) -> None:
    assert read_pod(raw(status)).trouble == expected


def test_a_pod_that_leaves_its_node() -> None:
    pod = read_pod(raw({"conditions": [{"type": "DisruptionTarget", "status": "True"}]}, deletionTimestamp=AT))
    assert (pod.evicted, pod.deleting, pod.live, pod.warm) == (True, True, False, False)


def test_what_happened_to_a_pod_is_counted_from_its_sight_whatever_its_stamps_say() -> None:
    seen_at, later = WHEN + timedelta(hours=1), WHEN + timedelta(hours=2)
    pod = AgentPod("pod", "uid", created_at=WHEN, running_since=WHEN, ready_changed_at=WHEN - timedelta(hours=9))
    first = with_sight(pod, None, seen_at)
    assert (first.seen_at, first.running_seen_at, first.ready_seen_at, first.claim_seen_at) == (*[seen_at] * 3, None)
    assert with_sight(pod, first, later) == first
    unready = with_sight(replace(pod, ready_changed_at=WHEN, claimed_at=WHEN), first, later)
    assert (unready.seen_at, unready.running_seen_at) == (seen_at, seen_at)
    assert (unready.ready_seen_at, unready.claim_seen_at) == (later, later)
    assert with_sight(replace(pod, uid="another of its name"), first, later).seen_at == later


@pytest.mark.parametrize(
    ("label", "on_drain"), [("Wait", OnDrain.WAIT), ("Move", OnDrain.MOVE), ("Newer", OnDrain.MOVE)]
)
def test_what_a_drain_does_to_a_pods_call(label: str, on_drain: OnDrain) -> None:
    assert read_pod(raw(labels={ON_DRAIN_LABEL: label})).on_drain is on_drain
    assert read_pod(raw()).on_drain is OnDrain.MOVE


@pytest.mark.parametrize(("seconds", "dismissed"), [(15, True), (0, True), (3600, False)])
def test_a_pod_with_an_hour_to_go_is_not_dismissed(seconds: int, dismissed: bool) -> None:
    going = read_pod(raw(deletionTimestamp=AT, deletionGracePeriodSeconds=seconds))
    assert going.deleting
    assert going.dismissed is dismissed
    assert not read_pod(raw()).dismissed
