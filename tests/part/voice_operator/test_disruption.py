"""What a drain does to the pods of a pool that waits for its calls: a real eviction, and a real budget."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kube.client import ThrottledError
from testing.chart import find, render
from testing.controllers import running_controllers
from testing.operator_cluster import OperatorCluster
from testing.waiting import eventually
from voicesession.models import EndReason
from voicesession.names import FREE_ANNOTATIONS, KEEP_ANNOTATIONS


@pytest.fixture(scope="module", autouse=True)
def _budgets_are_counted(api_server: Path) -> Iterator[None]:
    with running_controllers(api_server, ["disruption-controller"]):
        yield


async def _apply_budget(cluster: OperatorCluster) -> None:
    """Makes the chart's budget; returns when it counts a pod that may not go."""
    path = f"/apis/policy/v1/namespaces/{cluster.namespace}/poddisruptionbudgets"
    budget = find(render(), "PodDisruptionBudget", "waiting-calls")
    await cluster.api.request("POST", path, {**budget, "metadata": {"name": "calls"}})

    async def counts() -> bool:
        status = (await cluster.api.request("GET", f"{path}/calls")).get("status") or {}
        return status.get("expectedPods") == 1

    await eventually(counts)


async def _is_gone(cluster: OperatorCluster, name: str) -> bool:
    return name not in {pod["metadata"]["name"] for pod in await cluster.pods()}


async def test_a_pool_that_waits_keeps_its_calls_through_a_drain_and_no_idle_pod(cluster: OperatorCluster) -> None:
    await cluster.create_pool(warm={"min": 1}, disruption={"onDrain": "Wait", "graceSeconds": 600})
    await cluster.create_profile()
    cluster.start_operator()
    await cluster.wait_for_warm()
    await cluster.create_session("call", room="room-waits")
    active = await cluster.wait_for_phase("call", "Active")
    stub = cluster.stub_of(active)
    (idle,) = await cluster.wait_for_warm()
    (busy,) = [pod for pod in await cluster.pods() if pod["metadata"]["name"] == stub.name]
    assert busy["spec"]["terminationGracePeriodSeconds"] == 600
    assert KEEP_ANNOTATIONS.items() <= busy["metadata"]["annotations"].items()
    assert not KEEP_ANNOTATIONS.items() & idle["metadata"]["annotations"].items()
    assert FREE_ANNOTATIONS.items() <= idle["metadata"]["annotations"].items()

    await _apply_budget(cluster)
    with pytest.raises(ThrottledError, match="disruption budget"):
        await cluster.evict(stub.name)
    await cluster.evict(idle["metadata"]["name"])
    await eventually(lambda: _is_gone(cluster, idle["metadata"]["name"]))

    await stub.finish(EndReason.PARTICIPANT_LEFT)
    ended = await cluster.wait_for_phase("call", "Ended")
    assert ended.status.attempts == 1
