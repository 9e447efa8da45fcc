"""How many agent pods a cluster has room for."""

from typing import Any

import pytest

from benchmarks.capacity import Resources, explain_shortage, read_ask

CONTROL_PLANE: dict[str, Any] = {"taints": [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]}


def make_node(name: str, cpu: str = "2", memory: str = "8Gi", pods: str = "110", **spec: Any) -> dict[str, Any]:
    allocatable = {"cpu": cpu, "memory": memory, "pods": pods}
    return {"metadata": {"name": name}, "spec": spec, "status": {"allocatable": allocatable}}


def make_pod(node: str | None, cpu: str = "100m", memory: str = "160Mi", phase: str = "Running") -> dict[str, Any]:
    container = {"resources": {"requests": {"cpu": cpu, "memory": memory}}}
    where = {"nodeName": node} if node else {}
    return {"spec": {"containers": [container], **where}, "status": {"phase": phase}}


def explain(nodes: list[dict[str, Any]], others: list[dict[str, Any]], pool: list[dict[str, Any]], wanted: int) -> str:
    return explain_shortage(nodes, [*others, *pool], pool, wanted)


# As after `make demo`: 1.2 of 2 cores are asked for by what is not an agent.
SERVICES = [make_pod("node1", "1150m", "1Gi"), make_pod("node1", "50m", "96Mi")]
WARM = [make_pod("node1") for _ in range(3)]


def test_the_demos_one_node_is_too_small_for_ten() -> None:
    told = explain([make_node("node1")], SERVICES, WARM, 10)
    assert told == (
        "10 agent pods (0.1 CPU and 160 MiB each) are wanted, and this cluster's 1 node(s) have room for 8: run "
        "`NODES=2 make images` (with kind `make cluster-down` before it), then this again."
    )


@pytest.mark.parametrize(
    ("nodes", "wanted"),
    [
        ([make_node("node1")], 8),
        ([make_node("node1"), make_node("node2")], 28),
        ([make_node("node1"), make_node("control", **CONTROL_PLANE)], 8),
        ([make_node("node1"), make_node("cordoned", unschedulable=True)], 8),
        ([make_node("node1"), make_node("small", memory="500Mi")], 11),
        ([make_node("node1"), make_node("full", pods="1")], 9),
    ],
)
def test_so_many_find_room_and_no_more(nodes: list[dict[str, Any]], wanted: int) -> None:
    assert explain(nodes, SERVICES, WARM, wanted) == ""
    assert "have room for" in explain(nodes, SERVICES, WARM, wanted + 1)


def test_as_many_nodes_as_it_takes() -> None:
    assert "NODES=2 " in explain([make_node("node1")], SERVICES, WARM, 28)
    assert "NODES=3 " in explain([make_node("node1")], SERVICES, WARM, 29)
    assert "NODES=3 " in explain([make_node("node1")], SERVICES, WARM, 48)


def test_no_local_cluster_has_a_fourth_node() -> None:
    assert explain([make_node("node1")], SERVICES, WARM, 49).endswith("have room for 8: it takes larger nodes.")


def test_where_no_node_is_large_enough_more_do_not_help() -> None:
    pool = [make_pod(None, cpu="4")]
    told = explain([make_node("node1")], [], pool, 1)
    assert "have room for 0: it takes larger nodes." in told


def test_pods_that_are_over_ask_for_nothing_and_pods_that_wait_for_a_node_have_none() -> None:
    over = [make_pod("node1", "2", phase="Succeeded"), make_pod("node1", "2", phase="Failed")]
    assert explain([make_node("node1")], [*SERVICES, *over], [*WARM, make_pod(None)], 8) == ""
    assert "have room for 8" in explain([make_node("node1")], [*SERVICES, *over], [*WARM, make_pod(None)], 9)


def test_without_a_pod_to_go_by_nothing_is_said() -> None:
    assert explain([make_node("node1")], SERVICES, [], 100) == ""


def test_an_init_container_may_ask_for_more_than_all_others() -> None:
    pod = make_pod("node1", "100m", "64Mi")
    pod["spec"]["initContainers"] = [{"resources": {"requests": {"cpu": "1"}}}]
    pod["spec"]["containers"].append({})
    assert read_ask(pod) == Resources(1.0, 64 * 2**20, 1)
