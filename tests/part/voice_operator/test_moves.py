"""A call in progress goes to another pod: real agents, a real LiveKit, and a customer who goes on talking."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from testing.agent_cluster import AgentCluster
from testing.customer import Customer
from testing.process_pod import ProcessPod
from testing.waiting import eventually
from voicesession.models import AgentProfileSpec, VoiceSession
from voicesession.names import AGENT_POOLS, VOICE_SESSIONS

LONG = "one two three four five six seven eight nine ten " * 6


@pytest.fixture
async def stage(agents: AgentCluster) -> AgentCluster:
    """Two nodes with a pod each, and an operator."""
    agents.start_operator()
    await agents.create_warm_pool(2)
    return agents


@asynccontextmanager
async def talking(stage: AgentCluster, **spec: Any) -> AsyncIterator[tuple[VoiceSession, Customer, ProcessPod]]:
    """Yields a call whose customer was greeted and has got one answer, and its pod."""
    async with stage.call(**spec) as (session, customer):
        await customer.until_said(AgentProfileSpec().greeting)
        await ask(customer, "my name is Ada")
        active = await stage.wait_for_phase(session.metadata.name, "Active")
        yield active, customer, await stage.pod_of(session)


async def ask(customer: Customer, text: str) -> None:
    await customer.until(lambda: customer.agent_state == "listening", 20, "a listening agent")
    await customer.type(text)
    await customer.until_said(f"You said: {text}.")


async def until_moved(stage: AgentCluster, session: VoiceSession, before: ProcessPod) -> VoiceSession:
    """Waits until another pod has the call, and nobody else."""

    async def look() -> VoiceSession | None:
        now = await stage.session(session.metadata.name)
        assert now is not None
        assert now.status.phase == "Active", now.status
        there = now.status.pod_name not in {None, before.name} and not before.lives
        return now if there else None

    return await eventually(look, 40, lambda: before.log[-3000:])


def said(stage: AgentCluster, session: VoiceSession) -> list[str]:
    return [row["content"] for row in stage.rows(session) if row["kind"] == "message"]


async def events_of(stage: AgentCluster, session: VoiceSession, reason: str) -> list[str]:
    raw = await stage.api.request("GET", f"/api/v1/namespaces/{stage.namespace}/events")
    name = session.metadata.name
    found = (each for each in raw["items"] if each["involvedObject"]["name"] == name and each["reason"] == reason)
    return [each["message"] for each in found]


async def have_a_long_answer(customer: Customer) -> None:
    """Returns while the agent says it."""
    await customer.type(LONG)
    await customer.until(lambda: customer.agent_state == "speaking", 20, "a speaking agent")


async def test_a_call_moves_when_somebody_asks_and_its_agent_knows_it_all(
    stage: AgentCluster,
) -> None:
    async with talking(stage) as (session, customer, first):
        pod = first
        for value in ("once", "twice"):
            await stage.patch(VOICE_SESSIONS, session.metadata.name, {"spec": {"move": value}})
            moved = await until_moved(stage, session, pod)
            assert moved.status.moved == value
            assert moved.status.lost_agents is None
            pod = await stage.pod_of(session)
            await ask(customer, f"do you know me, {value}?")
        asked = [message["content"] for message in stage.models.chats[-1]["messages"] if message["role"] != "system"]
        assert asked[:3] == [AgentProfileSpec().greeting, "my name is Ada", "You said: my name is Ada."]
        assert [each.text for each in customer.heard.transcripts].count(AgentProfileSpec().greeting) == 1
        await eventually(lambda: len(said(stage, session)) == len(asked) + 1)
        assert said(stage, session) == [*asked, "You said: do you know me, twice?."]
        assert len(await eventually(lambda: events_of(stage, session, "Moved"))) == 2


async def test_a_pod_that_is_deleted_talks_until_another_has_its_call(stage: AgentCluster) -> None:
    async with talking(stage) as (session, customer, pod):
        await have_a_long_answer(customer)
        await stage.api.delete_pod(pod.name, pod.uid)
        moved = await until_moved(stage, session, pod)
        assert moved.status.node_name != stage.kubelet.node_of(pod.name)
        assert moved.status.lost_agents is None
        await eventually(lambda: f"You said: {LONG}." in said(stage, session))
        assert not any(row["interrupted"] for row in stage.rows(session))
        await ask(customer, "and now?")


async def test_an_old_pod_that_dies_meanwhile_leaves_its_call_to_the_one_that_stands_by(stage: AgentCluster) -> None:
    async with talking(stage) as (session, customer, pod):
        await have_a_long_answer(customer)
        await stage.patch(VOICE_SESSIONS, session.metadata.name, {"spec": {"move": "once"}})
        standby = await eventually(lambda: standing_by(stage))
        pod.kill()
        await until_recovered(stage, session)
        assert (await stage.pod_of(session)) is standby
        await ask(customer, "and now?")


async def test_a_standby_that_dies_is_replaced(stage: AgentCluster) -> None:
    async with talking(stage) as (session, customer, pod):
        await have_a_long_answer(customer)
        await stage.patch(VOICE_SESSIONS, session.metadata.name, {"spec": {"move": "once"}})
        standby = await eventually(lambda: standing_by(stage))
        standby.kill()
        moved = await until_moved(stage, session, pod)
        assert moved.status.pod_name != standby.name
        assert moved.status.lost_agents is None
        await ask(customer, "and now?")


async def test_an_operator_that_begins_anew_brings_a_move_to_its_end(stage: AgentCluster) -> None:
    async with talking(stage) as (session, customer, pod):
        await have_a_long_answer(customer)
        await stage.patch(VOICE_SESSIONS, session.metadata.name, {"spec": {"move": "once"}})
        standby = await eventually(lambda: standing_by(stage))
        await stage.stop_operators()
        stage.start_operator()
        moved = await until_moved(stage, session, pod)
        assert (moved.status.pod_name, moved.status.attempts, moved.status.lost_agents) == (standby.name, 2, None)
        await ask(customer, "and now?")


async def test_a_changed_pool_takes_its_long_calls_along_if_it_is_to(stage: AgentCluster) -> None:
    async with talking(stage) as (session, customer, pod):
        changed = {"rollout": {"longCalls": "Move"}, "pod": {"annotations": {"changed": "yes"}}}
        await stage.patch(AGENT_POOLS, "default", {"spec": changed})
        moved = await until_moved(stage, session, pod)
        raw = next(each for each in await stage.pods() if each["metadata"]["name"] == moved.status.pod_name)
        assert raw["metadata"]["annotations"]["changed"] == "yes"
        await ask(customer, "and now?")


def standing_by(stage: AgentCluster) -> ProcessPod | None:
    """Returns the pod that says it stands by."""
    return next((pod for pod in stage.kubelet.processes.values() if "the pod stands by" in pod.log), None)


async def until_recovered(stage: AgentCluster, session: VoiceSession) -> VoiceSession:
    """Waits until the call has lost one agent, and another one is in the room."""

    async def look() -> VoiceSession | None:
        now = await stage.session(session.metadata.name)
        there = now is not None and now.status.phase == "Active" and now.status.lost_agents == 1
        return now if there else None

    return await eventually(look)
