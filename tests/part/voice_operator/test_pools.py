"""Pools of waiting pods: their number, their renewal, and what a broken one says."""

from datetime import datetime, timedelta
from typing import Any

from kube.client import Raw
from testing.operator_cluster import OperatorCluster, is_warm_and_ready
from testing.stub_pod import Exit
from testing.waiting import eventually, stays
from voicesession import clock
from voicesession.models import AgentProfileSpec, EndReason
from voicesession.names import AGENT_POOLS, AGENT_PROFILES, TEMPLATE_LABEL
from voicesession.one_moment import choose_moment


async def _wait_for_status(
    cluster: OperatorCluster, plural: str = AGENT_POOLS, reason: str | None = None, **fields: Any
) -> Raw:
    """Waits for a status with these fields, and this reason of its one condition; it is written every 5 s at most."""
    status: Raw = {}

    async def look() -> Raw | None:
        nonlocal status
        found = await cluster.get(plural, "default")
        status = (found or {}).get("status", {})
        is_meant = all(status.get(name) == value for name, value in fields.items())
        return status if is_meant and reason in {None, _reason(status)} else None

    await eventually(look, why=lambda: f"{status} instead of {fields} {reason or ''}")
    return status


async def _has_warm(cluster: OperatorCluster, count: int) -> bool:
    return len(await cluster.warm_pods()) == count


def _reason(status: Raw) -> str | None:
    return next((condition["reason"] for condition in status.get("conditions") or ()), None)


async def test_a_pool_fills_to_its_minimum_and_says_so(cluster: OperatorCluster) -> None:
    await cluster.create_pool(warm={"min": 3})
    await cluster.create_profile()
    cluster.start_operator()
    status = await _wait_for_status(cluster, ready=3, replicas=3, starting=0, inUse=0)
    assert _reason(status) == "PodsWaiting"
    assert status["selector"] == "voiceagents.dev/pool=default,voiceagents.dev/state=warm"
    profile = await _wait_for_status(cluster, AGENT_PROFILES, activeSessions=0)
    assert _reason(profile) == "ReferencesFound"


async def test_no_more_pods_start_at_once_than_the_pool_allows(cluster: OperatorCluster) -> None:
    await cluster.create_pool(warm={"min": 7, "maxStarting": 2})
    cluster.kubelet.script.ready_after = 0.3
    cluster.start_operator()
    most = 0

    async def filled() -> bool:
        nonlocal most
        pods = await cluster.pods()
        most = max(most, sum(not is_warm_and_ready(pod) for pod in pods))
        return len([pod for pod in pods if is_warm_and_ready(pod)]) == 7

    await eventually(filled)
    assert most <= 2


async def test_a_claimed_pod_is_refilled_and_the_buffer_follows_the_calls(cluster: OperatorCluster) -> None:
    await cluster.create_pool(warm={"min": 1, "buffer": "100%", "scaleDownDelaySeconds": 1})
    await cluster.create_profile()
    cluster.start_operator()
    await cluster.wait_for_warm()
    names = ["one", "two", "three"]
    for name in names:
        await cluster.create_session(name, room=f"room-{name}")
        await cluster.wait_for_phase(name, "Active")
    await _wait_for_status(cluster, inUse=3, ready=3)
    for name in names:
        session = await cluster.wait_for_phase(name, "Active")
        await cluster.stub_of(session).finish(EndReason.IDLE)
    await _wait_for_status(cluster, inUse=0, ready=1)


async def test_kubectl_scale_sets_the_minimum_up_and_down(cluster: OperatorCluster) -> None:
    await cluster.create_pool(warm={"min": 1, "scaleDownDelaySeconds": 0})
    cluster.start_operator()
    await cluster.wait_for_warm()
    for replicas in (4, 2):
        patch = {"spec": {"replicas": replicas}}
        path = cluster.path(AGENT_POOLS, "default", "scale")
        await cluster.api.request("PATCH", path, patch, "application/merge-patch+json")
        await _wait_for_status(cluster, replicas=replicas, ready=replicas)
    scale = await cluster.api.request("GET", cluster.path(AGENT_POOLS, "default", "scale"))
    assert scale["status"]["replicas"] == 2
    assert scale["status"]["selector"]


async def test_surplus_pods_wait_for_the_delay(cluster: OperatorCluster) -> None:
    await cluster.create_pool(warm={"min": 3, "scaleDownDelaySeconds": 3})
    cluster.start_operator()
    await cluster.wait_for_warm(3)
    await cluster.patch(AGENT_POOLS, "default", {"spec": {"warm": {"min": 1}}})
    await stays(lambda: _has_warm(cluster, 3), 1.5, "a surplus pod went before its 3 s were over")
    await eventually(lambda: _has_warm(cluster, 1))


async def test_a_new_image_replaces_waiting_pods_one_by_one_and_no_call(cluster: OperatorCluster) -> None:
    await cluster.create_pool(warm={"min": 4})
    await cluster.create_profile()
    cluster.start_operator()
    await cluster.wait_for_warm(4)
    await cluster.create_session("call", room="room")
    active = await cluster.wait_for_phase("call", "Active")
    old = {pod["metadata"]["labels"][TEMPLATE_LABEL] for pod in await cluster.wait_for_warm(4)}
    cluster.kubelet.script.ready_after = 0.2
    await cluster.patch(AGENT_POOLS, "default", {"spec": {"image": "agent:2"}})
    fewest = 4

    async def renewed() -> bool:
        nonlocal fewest
        ready = await cluster.warm_pods()
        fewest = min(fewest, len(ready))
        return len(ready) == 4 and all(pod["metadata"]["labels"][TEMPLATE_LABEL] not in old for pod in ready)

    await eventually(renewed)
    assert fewest >= 3
    assert not cluster.stub_of(active).exited


async def test_a_changed_profile_needs_no_new_pod(cluster: OperatorCluster) -> None:
    await cluster.create_pool(warm={"min": 2})
    await cluster.create_profile(instructions="first")
    cluster.start_operator()
    before = {pod["metadata"]["uid"] for pod in await cluster.wait_for_warm(2)}
    await cluster.patch(AGENT_PROFILES, "default", {"spec": {"instructions": "second"}})

    async def are_the_same() -> bool:
        return {pod["metadata"]["uid"] for pod in await cluster.warm_pods()} == before

    await stays(are_the_same, 0.5, "a waiting pod was renewed")
    await cluster.create_session("call", room="room")
    assignment = cluster.stub_of(await cluster.wait_for_phase("call", "Active")).assignment
    assert assignment is not None
    assert assignment.profile.instructions == "second"


async def test_a_waiting_pod_that_stops_answering_is_replaced(cluster: OperatorCluster) -> None:
    await cluster.create_pool()
    cluster.start_operator()
    (pod,) = await cluster.wait_for_warm()
    # Conditions have whole seconds: unready must be later than running.
    running = pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]
    await eventually(lambda: clock.now() >= datetime.fromisoformat(running) + timedelta(seconds=1))
    await cluster.kubelet.set_ready(pod["metadata"]["name"], ready=False)

    async def replaced() -> bool:
        ready = await cluster.warm_pods()
        return bool(ready) and ready[0]["metadata"]["uid"] != pod["metadata"]["uid"]

    await eventually(replaced, seconds=30)


async def test_pods_that_crash_are_not_created_in_a_storm(cluster: OperatorCluster) -> None:
    cluster.kubelet.script.exits = Exit(3, "Error")
    await cluster.create_pool(warm={"min": 2, "maxStarting": 2})
    cluster.start_operator()
    await stays(lambda: cluster.kubelet.count_seen() <= 6, 8, "a storm")
    created = {pod["metadata"]["name"] for pod in await cluster.pods()}
    assert len(created) <= 3  # the ended ones are deleted, but for the newest
    await _wait_for_status(cluster, reason="CrashLooping", ready=0)

    cluster.kubelet.script.exits = None
    await cluster.wait_for_warm(2)
    await _wait_for_status(cluster, reason="PodsWaiting", ready=2, starting=0)


async def test_pods_that_crash_beside_one_that_waits_are_no_storm_either(cluster: OperatorCluster) -> None:
    await cluster.create_pool()
    cluster.start_operator()
    await cluster.wait_for_warm()
    cluster.kubelet.script.exits = Exit(3, "Error")
    await cluster.patch(AGENT_POOLS, "default", {"spec": {"warm": {"min": 3}}})
    await stays(lambda: cluster.kubelet.count_seen() <= 1 + 6, 8, "a storm")
    await _wait_for_status(cluster, reason="CrashLooping", ready=1)


async def test_deleting_a_pool_and_profile_leaves_their_calls_alone(cluster: OperatorCluster) -> None:
    await cluster.create_pool()
    await cluster.create_profile()
    cluster.start_operator()
    await cluster.wait_for_warm()
    await cluster.create_session("call", room="room")
    active = await cluster.wait_for_phase("call", "Active")
    await cluster.delete(AGENT_POOLS, "default")
    await cluster.delete(AGENT_PROFILES, "default")
    await stays(lambda: not cluster.stub_of(active).exited, 1, "its call ended")
    await cluster.stub_of(active).finish(EndReason.PARTICIPANT_LEFT)
    await cluster.wait_for_phase("call", "Ended")


async def test_idle_pods_are_told_the_greetings_of_their_profiles(cluster: OperatorCluster) -> None:
    await cluster.create_pool()
    await cluster.create_profile(greeting="Good morning.")
    personal = {"apology": "Sorry, {name}."}
    trouble = {**personal, "moment": "One moment, {name}."}
    await cluster.create_profile("personal", greeting="Good morning, {name}.", recovery=personal, trouble=trouble)
    cluster.start_operator()
    (pod,) = await cluster.wait_for_warm()
    stub = cluster.kubelet.stubs[pod["metadata"]["name"]]
    default = AgentProfileSpec()
    words = [default.recovery.apology, default.trouble.apology, choose_moment(default)]

    async def prepared(texts: list[str]) -> bool:
        return bool(stub.prepared) and [greeting.text for greeting in stub.prepared[-1].greetings] == texts

    await eventually(lambda: prepared(["Good morning.", *words]))
    await cluster.patch(AGENT_PROFILES, "default", {"spec": {"greeting": "Good evening."}})
    await eventually(lambda: prepared(["Good evening.", *words]))
    assert len(stub.prepared) == 2
