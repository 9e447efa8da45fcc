"""`kubectl delete` of anything that the operator manages, in any order: all of it is gone soon, and nothing hangs."""

import contextlib
import itertools
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from kube.client import NotFoundError, Raw
from testing.controllers import running_controllers
from testing.operator_cluster import OperatorCluster
from testing.waiting import eventually
from voicesession.names import AGENT_POOLS, AGENT_PROFILES, VOICE_SESSIONS

PODS = "pods"
KINDS = (VOICE_SESSIONS, PODS, AGENT_POOLS, AGENT_PROFILES)


@pytest.fixture(scope="module", autouse=True)
def _garbage_is_collected(api_server: Path) -> Iterator[None]:
    with running_controllers(api_server, ["garbage-collector-controller", "namespace-controller"]):
        yield


def _path(cluster: OperatorCluster, kind: str, *name: str) -> str:
    if kind == PODS:
        return "/".join((f"/api/v1/namespaces/{cluster.namespace}/pods", *name))
    return cluster.path(kind, *name)


async def _list(cluster: OperatorCluster, kind: str) -> list[Raw]:
    found: list[Raw] = (await cluster.api.request("GET", _path(cluster, kind)))["items"]
    return found


async def _delete(cluster: OperatorCluster, kind: str) -> None:
    """Deletes all objects of a kind, as `kubectl delete KIND --all --wait=false` does."""
    for raw in await _list(cluster, kind):
        with contextlib.suppress(NotFoundError):
            body = {"propagationPolicy": "Background"}
            await cluster.api.request("DELETE", _path(cluster, kind, raw["metadata"]["name"]), body)


async def _left(cluster: OperatorCluster, *kinds: str) -> list[str]:
    return [f"{kind}/{raw['metadata']['name']}" for kind in kinds for raw in await _list(cluster, kind)]


async def _open_call(cluster: OperatorCluster) -> None:
    """Makes one of each kind: a call with its pod, and a pod that waits."""
    await cluster.create_pool(warm={"min": 1}, disruption={"onDrain": "Wait"})
    await cluster.create_profile()
    await cluster.wait_for_warm()
    await cluster.create_session("call", room=f"room-{secrets.token_hex(4)}")
    await cluster.wait_for_phase("call", "Active")
    await cluster.wait_for_warm()
    for kind in KINDS:
        for raw in await _list(cluster, kind):
            assert not raw["metadata"].get("finalizers"), "whoever deletes it would wait for us"


async def test_in_every_order_all_that_is_deleted_is_soon_gone(cluster: OperatorCluster) -> None:
    cluster.start_operator()
    for order in itertools.permutations(KINDS):
        await _open_call(cluster)
        for kind in order:
            await _delete(cluster, kind)
            if (
                kind != PODS
            ):  # a pool makes new ones as long as it is there, and a call is carried on while it is wanted
                await _until_gone(cluster, kind)
        await _until_gone(cluster, *KINDS)


async def test_without_an_operator_nothing_hangs_either(cluster: OperatorCluster) -> None:
    cluster.start_operator()
    await _open_call(cluster)
    await cluster.stop_operators()
    for kind in KINDS:
        await _delete(cluster, kind)
    await _until_gone(cluster, *KINDS)


@pytest.mark.parametrize("operator_goes_first", [False, True])
async def test_a_namespace_with_calls_is_soon_gone(cluster: OperatorCluster, operator_goes_first: bool) -> None:
    cluster.start_operator()
    await _open_call(cluster)
    if operator_goes_first:
        await cluster.stop_operators()
    path = f"/api/v1/namespaces/{cluster.namespace}"
    await cluster.api.request("DELETE", path)

    async def is_gone() -> bool:
        try:
            await cluster.api.request("GET", path)
        except NotFoundError:
            return True
        return False

    await eventually(is_gone, 60)


async def _until_gone(cluster: OperatorCluster, *kinds: str) -> None:
    left: list[str] = []

    async def look() -> bool:
        left[:] = await _left(cluster, *kinds)
        return not left

    await eventually(look, 60, lambda: f"left: {left}")
