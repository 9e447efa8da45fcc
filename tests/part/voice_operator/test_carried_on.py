"""Real agents in real rooms: whatever becomes of the one that has the call, the next one goes on with it."""

import signal
from collections.abc import Awaitable, Callable

import pytest

from testing.agent_cluster import AgentCluster
from testing.process_pod import ProcessPod
from testing.waiting import eventually
from voicesession.models import AgentProfileSpec, VoiceSession


async def _kill(_agents: AgentCluster, pod: ProcessPod) -> None:
    pod.kill()


async def _hang(_agents: AgentCluster, pod: ProcessPod) -> None:
    pod.signal(signal.SIGSTOP)


@pytest.mark.parametrize("end", [_kill, _hang])
async def test_the_next_agent_goes_on_with_the_call(
    agents: AgentCluster, end: Callable[[AgentCluster, ProcessPod], Awaitable[None]]
) -> None:
    agents.start_operator()
    await agents.create_warm_pool(2)
    async with agents.call() as (session, customer):
        await customer.until_said(AgentProfileSpec().greeting)
        await customer.type("good morning")
        await customer.until_said("You said: good morning.")
        first = await agents.pod_of(session)
        await end(agents, first)

        async def carried_on() -> VoiceSession | None:
            now = await agents.session(session.metadata.name)
            there = now is not None and now.status.phase == "Active" and now.status.pod_name != first.name
            return now if there else None

        now = await eventually(carried_on, 60)
        assert (now.status.attempts, now.status.lost_attempt, now.status.lost_agents) == (2, 1, 1)
        second = await agents.pod_of(session)
        assert agents.kubelet.node_of(second.name) == now.status.node_name
        await customer.type("are you there?")
        await customer.until_said("You said: are you there?.")

        async def told() -> bool:
            listed = await agents.api.request("GET", f"/api/v1/namespaces/{agents.namespace}/events")
            return any(event["reason"] == "AgentRecovered" for event in listed["items"])

        await eventually(told)
        await eventually(lambda: {1, 2} == {row["attempt"] for row in agents.rows(session)})
