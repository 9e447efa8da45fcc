"""An agent that works on after its call: the call is over for everybody else, and the work is let be done."""

from typing import Any

from pydantic import SecretStr

from testing.conversations import AgentsConversation, ConversationsDatabase
from testing.operator_cluster import OperatorCluster
from testing.stub_pod import StubPod
from testing.waiting import eventually, stays
from voicesession import clock
from voicesession.assignment import Finishing
from voicesession.conditions import ConditionType, find_condition
from voicesession.models import EndReason, VoiceSession


async def work_on(cluster: OperatorCluster, name: str = "call") -> StubPod:
    """Begins a call, ends it for its customer, and returns its pod, which has something left to do."""
    await cluster.create_session(name, room=f"room-of-{name}")
    active = await cluster.wait_for_phase(name, "Active")
    stub = cluster.stub_of(active)
    await stub.say(Finishing(at=clock.now(), reason=EndReason.PARTICIPANT_LEFT, seconds=600))
    await cluster.wait_for_phase(name, "Ended")
    return stub


async def start(cluster: OperatorCluster, conversations: ConversationsDatabase) -> None:
    update = {"database_url": SecretStr(conversations.url("voice_closer"))}
    cluster.settings = cluster.settings.model_copy(update=update)
    await cluster.create_pool()
    await cluster.create_profile(maxSessions=1, limits={"ttlSecondsAfterFinished": 0})
    cluster.start_operator()
    await cluster.wait_for_warm()


async def read_call(cluster: OperatorCluster, name: str = "call") -> VoiceSession:
    session = await cluster.session(name)
    assert session is not None
    return session


async def test_the_place_of_a_call_is_free_while_its_agent_works_on(
    cluster: OperatorCluster, conversations: ConversationsDatabase
) -> None:
    await start(cluster, conversations)
    stub = await work_on(cluster)
    status = (await read_call(cluster)).status
    assert status.end_reason == "participant_left"
    done = find_condition(status.conditions, ConditionType.AGENT_DONE)
    assert done is not None
    assert (done.status, done.reason) == ("False", "Finishing")
    await cluster.create_session("next", room="room-of-next")
    await cluster.wait_for_phase("next", "Active")

    await cluster.stop_operators()
    cluster.start_operator()
    await stays(lambda: stub.exited is None and not stub.end_requests, 3, "the next leader lets it go on")
    assert (await read_call(cluster)).status.phase == "Ended", "its time to live begins when its agent is done"
    await stub.finish(EndReason.PARTICIPANT_LEFT)

    async def is_gone() -> bool:
        names = {pod["metadata"]["name"] for pod in await cluster.pods()}
        return stub.name not in names and await cluster.session("call") is None

    await eventually(is_gone)


async def test_work_that_is_lost_is_told_and_nobody_recovers_it(
    cluster: OperatorCluster, conversations: ConversationsDatabase
) -> None:
    await start(cluster, conversations)
    await cluster.patch("agentprofiles", "default", {"spec": {"limits": {"ttlSecondsAfterFinished": 600}}})
    stub = await work_on(cluster)
    call = await read_call(cluster)
    AgentsConversation(conversations, call.metadata.uid).start()
    await stub.crash()

    async def reason() -> Any:
        done = find_condition((await read_call(cluster)).status.conditions, ConditionType.AGENT_DONE)
        return done is not None and done.status == "True" and done.reason

    assert await eventually(reason) == "WorkLost"

    async def closed() -> Any:
        (row,) = conversations.query("SELECT ended_at, end_reason FROM voice.conversation_sessions")
        return row["end_reason"]

    assert await eventually(closed) == "participant_left"
    status = (await read_call(cluster)).status
    assert (status.phase, status.attempts) == ("Ended", 1)
