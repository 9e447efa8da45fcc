"""A call from its VoiceSession to its end, as a real API server sees it."""

import pytest

from tests.support.operator_cluster import OperatorCluster, eventually
from voicesession.models import EndReason

pytestmark = pytest.mark.api


async def test_a_call_gets_a_waiting_pod_is_followed_to_its_end_and_leaves_nothing(cluster: OperatorCluster) -> None:
    await cluster.create_pool()
    await cluster.create_profile(limits={"ttlSecondsAfterFinished": 1})
    cluster.start_operator()
    await cluster.wait_for_warm()

    session = await cluster.create_session("first", room="room-first", participantIdentity="customer")
    active = await cluster.wait_for_phase("first", "Active")

    assert active.status.start_type == "Warm"
    assert active.status.attempts == 1
    assert active.status.room == "room-first"
    assert active.status.connect_millis is not None
    stub = cluster.stub_of(active)
    assert stub.assignment is not None
    assert stub.assignment.session_id == session.metadata.uid
    assert stub.assignment.participant_identity == "customer"
    assert stub.assignment.provider == "local"

    await stub.finish(EndReason.PARTICIPANT_LEFT)
    ended = await cluster.wait_for_phase("first", "Ended")
    assert ended.status.end_reason == "participant_left"
    assert ended.status.reason == "CallEnded"

    async def nothing_left() -> bool:
        names = {pod["metadata"]["name"] for pod in await cluster.pods()}
        return stub.name not in names and await cluster.session("first") is None and len(names) == 1

    await eventually(nothing_left)
