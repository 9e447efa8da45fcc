"""A call whose agent is lost goes on with another one, in the same room."""

import secrets
from typing import Any

import pytest

from testing.guest import guest_in
from testing.livekit import LiveKitServer
from testing.operator_cluster import OperatorCluster
from testing.stub_pod import Exit
from testing.waiting import eventually
from voicesession import clock
from voicesession.assignment import CustomerKnown, TerminationMessage
from voicesession.models import EndReason, VoiceSession


async def _start(cluster: OperatorCluster, **profile: Any) -> None:
    await cluster.create_pool(warm={"min": 2})
    await cluster.create_profile(**profile)
    cluster.start_operator()
    await cluster.wait_for_warm(2)


async def _begin(cluster: OperatorCluster, **spec: Any) -> VoiceSession:
    await cluster.create_session("call", **{"room": "room-" + secrets.token_hex(4), **spec})
    return await cluster.wait_for_phase("call", "Active")


async def _recovered(cluster: OperatorCluster, attempt: int = 2) -> VoiceSession:
    """Waits until the agent of this attempt is in the room; returns the VoiceSession."""

    async def look() -> VoiceSession | None:
        session = await cluster.session("call")
        there = session is not None and session.status.phase == "Active" and session.status.attempts == attempt
        return session if there else None

    return await eventually(look)


@pytest.mark.parametrize("exit_", [Exit(137, "OOMKilled"), Exit(139, "Error"), Exit(1, "Error", "no JSON of ours")])
async def test_a_call_whose_agent_dies_goes_on_with_another_one(cluster: OperatorCluster, exit_: Exit) -> None:
    await _start(cluster)
    active = await _begin(cluster)
    first = cluster.stub_of(active)
    await first.crash(exit_)
    recovered = await _recovered(cluster)
    second = cluster.stub_of(recovered)
    assert second is not first
    assert second.assignment is not None
    assert (second.assignment.attempt, second.assignment.room) == (2, active.spec.room)
    assert second.assignment.recovery is not None
    await second.finish(EndReason.PARTICIPANT_LEFT)
    ended = await cluster.wait_for_phase("call", "Ended")
    assert (ended.status.end_reason, ended.status.lost_agents) == ("participant_left", 1)


async def test_a_call_has_so_many_agents_and_then_fails_and_its_customer_is_told(
    cluster: OperatorCluster, livekit: LiveKitServer
) -> None:
    await _start(cluster, limits={"maxAttempts": 2})
    async with guest_in(livekit) as customer:
        first = await _begin(cluster, room=customer.room.name)
        await cluster.stub_of(first).crash()
        await cluster.stub_of(await _recovered(cluster)).crash(Exit(137, "OOMKilled"))
        failed = await cluster.wait_for_phase("call", "Failed")
        await customer.until_gone()
    assert [heard["type"] for heard in customer.heard] == ["error"]
    assert (failed.status.reason, failed.status.end_reason, failed.status.attempts) == ("OutOfMemory", "error", 2)


async def test_a_pod_that_is_deleted_leaves_its_call_to_another(cluster: OperatorCluster) -> None:
    await _start(cluster)
    stub = cluster.stub_of(await _begin(cluster))
    await cluster.api.delete_pod(stub.name, stub.uid)
    recovered = await _recovered(cluster)
    assert cluster.stub_of(recovered) is not stub


async def test_an_end_that_is_heard_late_is_the_calls_all_the_same(cluster: OperatorCluster) -> None:
    """The pod's port was closed before its last word came; its kubelet has it."""
    await cluster.create_pool(warm={"min": 1})
    await cluster.create_profile()
    cluster.start_operator()
    await cluster.wait_for_warm()
    stub = cluster.stub_of(await _begin(cluster))
    cluster.kubelet.script.ready_after = 60  # so that there is no other pod for the call yet
    await stub.stop()
    await cluster.wait_for_phase("call", "Recovering")
    left = TerminationMessage(reason="participant_left", end_written=True)
    await stub.exit(Exit(0, "Completed", left.model_dump_json(by_alias=True)))
    ended = await cluster.wait_for_phase("call", "Ended")
    assert ended.status.end_reason == "participant_left"


async def test_who_the_customer_is_an_agent_finds_out_and_the_next_is_told(cluster: OperatorCluster) -> None:
    await _start(cluster)
    stub = cluster.stub_of(await _begin(cluster))
    await stub.say(CustomerKnown(at=clock.now(), participant_identity="them"))

    async def known() -> bool:
        session = await cluster.session("call")
        return session is not None and session.status.participant_identity == "them"

    await eventually(known)
    await stub.crash()
    again = cluster.stub_of(await _recovered(cluster)).assignment
    assert again is not None
    assert again.participant_identity == "them"


async def test_the_events_tell_of_the_loss_and_of_who_came(cluster: OperatorCluster) -> None:
    await _start(cluster)
    stub = cluster.stub_of(await _begin(cluster))
    await stub.stop()  # its port is closed before its kubelet says how it ended
    await _recovered(cluster)
    await stub.exit(Exit(137, "OOMKilled"))

    async def told() -> list[str]:
        listed = await cluster.api.request("GET", f"/api/v1/namespaces/{cluster.namespace}/events")
        reasons = [event["reason"] for event in listed["items"] if event["involvedObject"]["name"] == "call"]
        return sorted(reasons) if len(reasons) >= 4 else []

    assert await eventually(told) == ["AgentJoined", "AgentLost", "AgentRecovered", "OutOfMemory"]


async def test_a_call_on_a_lost_node_goes_on_on_another_one(cluster: OperatorCluster) -> None:
    """Its waiting pods look ready for 40 s more, and are not taken."""
    await cluster.create_pool(warm={"min": 2})
    await cluster.create_profile()
    cluster.start_operator()
    lost = await cluster.wait_for_warm(2)
    cluster.kubelet.script.node = "node-2"
    active = await _begin(cluster)
    assert active.status.node_name == "node-1"
    await cluster.wait_for_warm(2)  # the refill is on the other node
    for pod in lost:
        cluster.kubelet.lost.add(pod["metadata"]["name"])
        await cluster.kubelet.stubs[pod["metadata"]["name"]].vanish()
    recovered = await _recovered(cluster)
    assert (recovered.status.node_name, recovered.status.lost_agents) == ("node-2", 1)
