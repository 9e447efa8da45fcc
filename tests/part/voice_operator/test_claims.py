"""One room, one agent: every race for a pod that we know of is made to happen here."""

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest

from kube.client import InvalidError, KubernetesUnavailableError, Raw
from testing.hooked_api import is_claim
from testing.operator_cluster import OperatorCluster, is_warm_and_ready
from testing.stub_pod import Script
from testing.waiting import eventually, stays
from voice_operator.calls.claim import build_claim
from voice_operator.pods.agent_pod import read_pod
from voice_operator.pools.pod_template import PodBasis, build_agent_pod
from voicesession.models import AgentPool, EndReason, VoiceSession
from voicesession.names import AGENT_POOLS, ATTEMPT_ANNOTATION, SESSION_LABEL, STATE_LABEL, VOICE_SESSIONS


async def _make_pod(cluster: OperatorCluster) -> Raw:
    pool = AgentPool.model_validate(await cluster.create_pool(warm={"min": 0}))
    raw = await cluster.api.create_pod(build_agent_pod(pool, PodBasis("a key"), ""))

    async def bound() -> Raw | None:
        pod = await cluster.api.get_pod(raw["metadata"]["name"])
        return pod if (pod.get("status") or {}).get("podIP") else None

    found: Raw = await eventually(bound)
    return found


def _claim(cluster: OperatorCluster, pod: Raw, session: VoiceSession, attempt: int = 1) -> Any:
    created = session.metadata.creation_timestamp
    assert created is not None
    return cluster.api.patch_pod(pod["metadata"]["name"], build_claim(read_pod(pod), session, attempt, created))


# The claim itself: what the API server makes of it


async def test_a_claim_binds_a_waiting_pod_whatever_its_kubelet_wrote_meanwhile(cluster: OperatorCluster) -> None:
    pod = await _make_pod(cluster)
    session = await cluster.create_session()
    claimed = await _claim(cluster, pod, session)

    metadata = claimed["metadata"]
    assert metadata["labels"][STATE_LABEL] == "claimed"
    assert metadata["labels"][SESSION_LABEL] == session.metadata.uid
    assert metadata["annotations"][ATTEMPT_ANNOTATION] == "1"
    assert [owner["uid"] for owner in metadata["ownerReferences"]] == [session.metadata.uid]


async def test_a_claimed_pod_cannot_be_claimed_again(cluster: OperatorCluster) -> None:
    pod = await _make_pod(cluster)
    await _claim(cluster, pod, await cluster.create_session())
    with pytest.raises(InvalidError):
        await _claim(cluster, pod, await cluster.create_session())


async def test_a_pod_that_is_being_deleted_cannot_be_claimed(cluster: OperatorCluster) -> None:
    pod = await _make_pod(cluster)
    cluster.kubelet.lost.add(pod["metadata"]["name"])  # so that it stays, terminating
    await cluster.api.delete_pod(pod["metadata"]["name"], pod["metadata"]["uid"])
    with pytest.raises(InvalidError):
        await _claim(cluster, pod, await cluster.create_session())


async def test_another_pod_of_the_same_name_cannot_be_claimed(cluster: OperatorCluster) -> None:
    pod = await _make_pod(cluster)
    other = {**pod, "metadata": {**pod["metadata"], "uid": "00000000-0000-0000-0000-000000000000"}}
    with pytest.raises(InvalidError):
        await _claim(cluster, other, await cluster.create_session())


async def test_of_many_claims_at_once_exactly_one_succeeds(cluster: OperatorCluster) -> None:
    pod = await _make_pod(cluster)
    sessions = [await cluster.create_session() for _ in range(8)]
    results = await asyncio.gather(*(_claim(cluster, pod, each) for each in sessions), return_exceptions=True)
    assert sum(not isinstance(result, BaseException) for result in results) == 1
    assert sum(isinstance(result, InvalidError) for result in results) == 7


# Races around it


async def _set_up(cluster: OperatorCluster, pods: int) -> None:
    await cluster.create_pool(warm={"min": pods})
    await cluster.create_profile()


async def _expect_one_agent(cluster: OperatorCluster, name: str) -> VoiceSession:
    """The call is active, and of all pods only the one in its status has ever joined for it and still runs."""
    active = await cluster.wait_for_phase(name, "Active")

    async def has_one() -> bool:
        running = [stub.name for stub in cluster.stubs_with(active) if not stub.exited]
        claimed = [pod["metadata"] for pod in await cluster.pods() if pod["metadata"]["labels"].get(SESSION_LABEL)]
        return running == [metadata["name"] for metadata in claimed] == [active.status.pod_name]

    await eventually(has_one)
    await stays(has_one, 0.3, lambda: f"a second agent: {cluster.stubs_with(active)}")
    return active


async def test_a_leader_that_ends_in_a_flood_of_calls_leaves_each_of_them_one_agent(cluster: OperatorCluster) -> None:
    await _set_up(cluster, 10)
    leader = cluster.start_operator()
    await cluster.wait_for_warm(10)
    cluster.start_operator(pod_name="operator-b")
    names = [f"call-{number}" for number in range(10)]
    creating = asyncio.gather(*(cluster.create_session(name, room=f"room-{name}") for name in names))
    await cluster.wait_for_phase(names[0], "Active")
    await leader.stop()
    await creating

    active = [await cluster.wait_for_phase(name, "Active") for name in names]

    def running(session: VoiceSession) -> list[int]:
        return [stub.assignments for stub in cluster.stubs_with(session) if not stub.exited]

    await eventually(lambda: all(running(session) == [1] for session in active))
    await stays(lambda: all(running(session) == [1] for session in active), 0.5, "a call got a second agent")
    assert len({session.status.pod_name for session in active}) == 10


async def test_a_pod_that_another_operator_took_first_is_left_to_it(cluster: OperatorCluster) -> None:
    await _set_up(cluster, 2)
    stolen: list[str] = []

    async def steal(method: str, path: str, _body: Any) -> None:
        if is_claim(method, path) and not stolen:
            stolen.append(path.rsplit("/", 1)[1])
            pod = await cluster.api.get_pod(stolen[0])
            await _claim(cluster, pod, other)

    made = cluster.start_hooked_operator(before=steal)
    await cluster.wait_for_warm(2)
    other = await cluster.create_session("other", room="room-other", profile="nobody")  # waits for its profile
    await cluster.create_session("mine", room="room-mine")

    mine = await cluster.wait_for_phase("mine", "Active")
    assert mine.status.pod_name not in stolen
    assert sum(is_claim(*request) for request in made[0].requests) == 2  # the lost one was not tried again
    assert mine.status.attempts == 1
    assert len([stub for stub in cluster.stubs_with(mine) if not stub.exited]) == 1


@pytest.mark.parametrize("took_effect", [True, False])
async def test_a_claim_whose_answer_is_lost_is_read_back_before_another_is_tried(
    cluster: OperatorCluster, took_effect: bool
) -> None:
    await _set_up(cluster, 3)
    lost: list[str] = []

    async def lose(method: str, path: str, _body: Any) -> None:
        if is_claim(method, path) and not lost:
            lost.append(path)
            raise KubernetesUnavailableError("the answer was lost")

    made = cluster.start_hooked_operator(**({"after": lose} if took_effect else {"before": lose}))
    await cluster.wait_for_warm(3)
    await cluster.create_session("call", room="room")

    active = await _expect_one_agent(cluster, "call")
    requests = [(method, path) for method, path in made[0].requests if "/pods/" in path]
    assert requests[:2] == [("PATCH", lost[0]), ("GET", lost[0])]
    assert active.status.attempts == (1 if took_effect else 2)  # it may still take effect: its number is used


async def test_an_assignment_whose_answer_is_lost_is_not_given_twice(cluster: OperatorCluster) -> None:
    await _set_up(cluster, 2)
    cluster.start_operator()
    await cluster.wait_for_warm(2)
    cluster.kubelet.pod_script.lose_answer = True
    await cluster.create_session("call", room="room")

    active = await _expect_one_agent(cluster, "call")
    assert cluster.stub_of(active).assignments == 1
    assert cluster.stub_of(active).posts == 1  # afterwards it is asked what it has
    assert active.status.attempts == 1


async def test_a_pod_that_dies_between_claim_and_assignment_is_replaced_by_another(cluster: OperatorCluster) -> None:
    await _set_up(cluster, 2)
    died: list[str] = []

    async def kill(method: str, path: str, _body: Any) -> None:
        if is_claim(method, path) and not died:
            died.append(path.rsplit("/", 1)[1])
            await cluster.kubelet.stubs[died[0]].crash()

    cluster.start_hooked_operator(after=kill)
    await cluster.wait_for_warm(2)
    await cluster.create_session("call", room="room")

    active = await cluster.wait_for_phase("call", "Active")
    assert active.status.pod_name not in died
    assert active.status.attempts == 2
    assert len(cluster.stubs_with(active)) == 1


async def test_a_pod_that_dies_as_it_gets_the_assignment_is_replaced_by_another(cluster: OperatorCluster) -> None:
    await _set_up(cluster, 2)
    cluster.start_operator()
    await cluster.wait_for_warm(2)
    cluster.kubelet.pod_script.die_on_assignment = True
    await cluster.create_session("call", room="room")

    async def one_died() -> bool:
        return any(stub.exited for stub in cluster.kubelet.stubs.values())

    await eventually(one_died)
    cluster.kubelet.pod_script.die_on_assignment = False
    active = await cluster.wait_for_phase("call", "Active")
    assert len(cluster.stubs_with(active)) == 1


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_pod_that_is_deleted_while_it_is_claimed_is_replaced_by_another(
    cluster: OperatorCluster, when: str
) -> None:
    await _set_up(cluster, 2)
    deleted: list[str] = []

    async def delete(method: str, path: str, _body: Any) -> None:
        if is_claim(method, path) and not deleted:
            deleted.append(path.rsplit("/", 1)[1])
            stub = cluster.kubelet.stubs[deleted[0]]
            await cluster.api.delete_pod(stub.name, stub.uid)
            if when == "after":
                await stub.terminate()

    cluster.start_hooked_operator(**{when: delete})
    await cluster.wait_for_warm(2)
    await cluster.create_session("call", room="room")

    active = await _expect_one_agent(cluster, "call")
    assert active.status.pod_name not in deleted


@pytest.mark.parametrize("status", [401, 404, 409])
async def test_a_pod_that_refuses_the_call_is_replaced_by_another(cluster: OperatorCluster, status: int) -> None:
    await _set_up(cluster, 2)
    cluster.start_operator()
    await cluster.wait_for_warm(2)
    cluster.kubelet.pod_script.refuse_once_with = status
    await cluster.create_session("call", room="room")
    await cluster.wait_for_phase("call", "Active")

    await eventually(lambda: any(stub.exited for stub in cluster.kubelet.stubs.values()))


async def test_a_call_is_not_given_to_one_pod_of_a_lost_node_after_the_other(cluster: OperatorCluster) -> None:
    await _set_up(cluster, 4)
    cluster.start_operator()
    lost = {pod["metadata"]["name"] for pod in await cluster.wait_for_warm(4)}
    cluster.kubelet.pod_script.silent = cluster.kubelet.pod_script.hang_on_assignment = True
    cluster.kubelet.pod_script = Script()
    cluster.kubelet.script.node = "node-2"
    await cluster.patch(AGENT_POOLS, "default", {"spec": {"warm": {"min": 5}}})
    await cluster.wait_for_warm(5)
    await cluster.create_session("call", room="room")

    active = await cluster.wait_for_phase("call", "Active")
    assert active.status.pod_name not in lost
    assert active.status.attempts == 2


async def _has_ended(cluster: OperatorCluster, path: str) -> bool:
    pod = await cluster.api.request("GET", path.split("?", maxsplit=1)[0])
    return pod["status"].get("phase") in {"Succeeded", "Failed"}


async def test_how_a_dismissed_pod_ends_is_not_how_its_call_ends(cluster: OperatorCluster) -> None:
    await _set_up(cluster, 2)

    async def wait_for_its_end(method: str, path: str, _body: Any) -> None:
        if method == "DELETE" and "/pods/" in path:
            # It was told to end, and its kubelet tells how it did.
            await eventually(lambda: _has_ended(cluster, path))

    cluster.start_hooked_operator(before=wait_for_its_end)
    await cluster.wait_for_warm(2)
    cluster.kubelet.pod_script.refuse_once_with = 409
    await cluster.create_session("call", room="room")
    await cluster.wait_for_phase("call", "Active")

    await eventually(lambda: any(stub.exited for stub in cluster.kubelet.stubs.values()))


async def test_a_call_that_no_pod_accepts_fails_and_spares_the_other_pods(cluster: OperatorCluster) -> None:
    await _set_up(cluster, 6)
    cluster.start_operator()
    await cluster.wait_for_warm(6)
    cluster.kubelet.pod_script.refuse_with = 409
    await cluster.create_session("call", room="room")

    failed = await cluster.wait_for_phase("call", "Failed")
    assert failed.status.reason == "AssignmentFailed"
    assert "409" in (failed.status.message or "")
    assert sum(1 for stub in cluster.kubelet.stubs.values() if stub.exited) <= 3


async def test_two_pods_of_one_call_become_one(cluster: OperatorCluster) -> None:
    """As two operators with stale caches may bring it about, each claiming another pod for the same call."""
    await _set_up(cluster, 2)
    operator = cluster.start_operator()
    await cluster.wait_for_warm(2)
    await operator.stop()
    session = await cluster.create_session("call", room="room")
    first, second = await cluster.wait_for_warm(2)
    await _claim(cluster, first, session)
    await _claim(cluster, second, session)
    cluster.start_operator()

    await _expect_one_agent(cluster, "call")


async def test_of_two_calls_for_one_room_the_older_wins(cluster: OperatorCluster) -> None:
    await _set_up(cluster, 2)
    cluster.start_operator()
    await cluster.wait_for_warm(2)
    await cluster.create_session("older", room="shared")
    await cluster.wait_for_phase("older", "Active")
    # Created within the same second, as far as the API server tells, and with a uid that may be the smaller one.
    names = [f"younger-{number}" for number in range(8)]
    await asyncio.gather(*(cluster.create_session(name, room="shared") for name in names))

    for name in names:
        refused = await cluster.wait_for_phase(name, "Failed")
        assert refused.status.reason == "RoomTaken"
        assert "'shared'" in (refused.status.message or "")
        assert cluster.stubs_with(refused) == []
    older = await cluster.wait_for_phase("older", "Active")
    assert not cluster.stub_of(older).exited


async def test_of_many_calls_for_one_room_at_once_one_gets_an_agent(cluster: OperatorCluster) -> None:
    await _set_up(cluster, 4)
    cluster.start_operator()
    await cluster.wait_for_warm(4)
    names = [f"call-{number}" for number in range(4)]
    await asyncio.gather(*(cluster.create_session(name, room="shared") for name in names))

    settled = [await cluster.wait_for_phase(name, "Active", "Failed") for name in names]
    assert sorted(session.status.phase or "" for session in settled) == ["Active", "Failed", "Failed", "Failed"]
    assert {session.status.reason for session in settled if session.status.phase == "Failed"} == {"RoomTaken"}
    assert sum(len(cluster.stubs_with(session)) for session in settled) == 1


# A restarted operator


async def test_a_pod_that_was_claimed_and_never_assigned_gets_its_call_from_the_next_operator(
    cluster: OperatorCluster,
) -> None:
    await _set_up(cluster, 1)
    operator = cluster.start_operator()
    (pod,) = await cluster.wait_for_warm()
    await operator.stop()
    session = await cluster.create_session("call", room="room")
    await _claim(cluster, pod, session)
    cluster.start_operator()

    active = await _expect_one_agent(cluster, "call")
    assert active.status.pod_name == pod["metadata"]["name"]
    assert active.status.attempts == 1


async def test_a_call_survives_an_operator_that_is_killed_and_is_followed_by_the_next(cluster: OperatorCluster) -> None:
    await _set_up(cluster, 1)
    process = cluster.start_operator_process()
    try:
        await cluster.wait_for_warm()
        await cluster.create_session("call", room="room")
        active = await cluster.wait_for_phase("call", "Active")
    finally:
        process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(process.wait, 10)
    stub = cluster.stub_of(active)
    assert not stub.exited
    cluster.start_operator()
    await cluster.wait_for_warm()

    assert stub.assignments == 1
    await stub.finish(EndReason.IDLE)
    ended = await cluster.wait_for_phase("call", "Ended")
    assert ended.status.end_reason == "idle"


async def test_a_call_that_ended_while_no_operator_ran_is_closed_by_the_next(cluster: OperatorCluster) -> None:
    await _set_up(cluster, 1)
    operator = cluster.start_operator()
    await cluster.wait_for_warm()
    await cluster.create_session("call", room="room")
    active = await cluster.wait_for_phase("call", "Active")
    await operator.stop()
    await cluster.stub_of(active).finish(EndReason.PARTICIPANT_LEFT)
    cluster.start_operator()

    ended = await cluster.wait_for_phase("call", "Ended")
    assert ended.status.end_reason == "participant_left"


async def test_the_pod_of_a_call_that_was_deleted_while_no_operator_ran_is_ended(cluster: OperatorCluster) -> None:
    await _set_up(cluster, 1)
    operator = cluster.start_operator()
    await cluster.wait_for_warm()
    await cluster.create_session("call", room="room")
    active = await cluster.wait_for_phase("call", "Active")
    await operator.stop()
    await cluster.delete(VOICE_SESSIONS, "call")
    cluster.start_operator()

    async def ended() -> bool:
        return cluster.stub_of(active).exited is not None

    await eventually(ended)


async def test_a_call_goes_on_under_an_operator_whose_key_its_pod_does_not_know(
    cluster: OperatorCluster, tmp_path: Path
) -> None:
    await _set_up(cluster, 2)
    operator = cluster.start_operator()
    waiting = {pod["metadata"]["uid"] for pod in await cluster.wait_for_warm(2)}
    cluster.kubelet.pod_script.really_joins = True
    await cluster.create_session("call", room=f"room-{cluster.namespace}")
    active = await cluster.wait_for_phase("call", "Active")
    await operator.stop()
    cluster.use_another_key(tmp_path / "another.pem")
    cluster.start_operator()

    async def renewed() -> bool:
        pods = [pod for pod in await cluster.pods() if is_warm_and_ready(pod)]
        return len(pods) == 2 and not waiting & {pod["metadata"]["uid"] for pod in pods}

    await eventually(renewed)  # idle pods cannot be given a call any more, so they are replaced
    stub = cluster.stub_of(active)
    assert stub.refused_tokens
    still = await cluster.session("call")
    assert still is not None
    assert still.status.phase == "Active"
    await stub.finish(EndReason.PARTICIPANT_LEFT)
    await cluster.wait_for_phase("call", "Ended")
