"""The stage of real calls: a pod's process has what its spec says, a killed one is told of, a node can be cut off."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from testing.agent_cluster import AgentCluster, agent_cluster
from testing.conversations import ConversationsDatabase
from testing.fake_openai import running_fake_openai
from testing.livekit import LiveKitServer
from testing.pod_port import pod_port
from testing.waiting import eventually, stays
from voicesession.models import AgentProfileSpec

WARM = 2


@pytest.fixture(autouse=True)
def _pods_of_one_address_each() -> Iterator[None]:
    with pod_port(everywhere=False):
        yield


@pytest.fixture
async def cluster(
    api_server: Path, livekit: LiveKitServer, conversations: ConversationsDatabase, tmp_path: Path
) -> AsyncIterator[AgentCluster]:
    """Two nodes with a pod each, and an operator."""
    async with (
        running_fake_openai() as models,
        agent_cluster(api_server, livekit, conversations, models, tmp_path) as made,
    ):
        made.start_operator()
        await made.create_warm_pool(WARM)
        yield made


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
