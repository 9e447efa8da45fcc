"""The stage of real calls: a pod's process has what its spec says, a killed one is told of, a node can be cut off."""

import pytest

from testing.agent_cluster import AgentCluster
from testing.waiting import eventually, stays
from voicesession.models import AgentProfileSpec


@pytest.fixture
async def cluster(agents: AgentCluster) -> AgentCluster:
    """Two nodes with a pod each, and an operator."""
    agents.start_operator()
    await agents.create_warm_pool(2)
    return agents


async def test_a_call_is_held_written_and_its_pods_death_is_told(cluster: AgentCluster) -> None:
    assert {cluster.kubelet.node_of(pod["metadata"]["name"]) for pod in await cluster.warm_pods()} == {
        "node-1",
        "node-2",
    }
    async with cluster.call() as (session, customer):
        await customer.until_said(AgentProfileSpec().greeting)
        await customer.type("good morning")
        await customer.until_said("You said: good morning.")
        await eventually(lambda: [row for row in cluster.rows(session) if row["content"] == "good morning"])

        pod = await cluster.pod_of(session)
        pod.kill("OOMKilled")

        async def told() -> bool:
            for raw in await cluster.pods():
                for container in raw["status"].get("containerStatuses", []):
                    if container["state"].get("terminated", {}).get("reason") == "OOMKilled":
                        return bool(container["state"]["terminated"]["exitCode"] == 137)
            return not any(raw["metadata"]["name"] == pod.name for raw in await cluster.pods())

        await eventually(told)


async def test_a_node_that_is_cut_off_says_nothing_and_comes_back(cluster: AgentCluster) -> None:
    async with cluster.call() as (session, customer):
        await customer.until_said(AgentProfileSpec().greeting)
        pod = await cluster.pod_of(session)
        node = cluster.kubelet.node_of(pod.name)
        cluster.kubelet.cut(node)
        await customer.type("anybody there?")
        await stays(lambda: not customer.agent_said("You said: anybody there?."), 1, "a node that is cut off answers")
        cluster.kubelet.mend(node)
        await customer.until_said("You said: anybody there?.")
