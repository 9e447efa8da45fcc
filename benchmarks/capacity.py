"""Whether the cluster has room for the agent pods that a benchmark wants: said before it begins, not in its middle."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubernetes.utils.quantity import parse_quantity

from local_cluster.layout import MAX_NODES
from testing.release import Release, ReleaseError
from voicesession.names import POOL_LABEL

Object = Mapping[str, Any]
Objects = Sequence[Object]

# What keeps ordinary pods off a node, as a control plane's taint does.
_KEEPS_OFF = {"NoSchedule", "NoExecute"}


@dataclass(frozen=True)
class Resources:
    """What a pod asks for, or a node has: cores, bytes, places for pods."""

    cpu: float
    memory: float
    pods: int

    def __sub__(self, other: "Resources") -> "Resources":
        return Resources(self.cpu - other.cpu, self.memory - other.memory, self.pods - other.pods)

    def holds(self, ask: "Resources") -> int:
        """Returns how many pods of this kind find room in it."""
        # In thousandths and whole bytes: ten times 0.1 cores are one core.
        of_cpu = round(self.cpu * 1000) // round(ask.cpu * 1000) if ask.cpu else self.pods
        of_memory = round(self.memory) // round(ask.memory) if ask.memory else self.pods
        return max(0, min(of_cpu, of_memory, self.pods))


def require_room(release: Release, wanted: int, pool: str = "default") -> None:
    """Makes sure that `wanted` pods of a pool, those that it has among them, can wait at once.

    Raises:
        testing.release.ReleaseError: they cannot; says what to do.
    """
    nodes, pods = release.get("nodes")["items"], release.get("pods", "--all-namespaces")["items"]
    of_pool = [pod for pod in pods if _is_of(pod, release.namespace, pool)]
    if shortage := explain_shortage(nodes, pods, of_pool, wanted):
        raise ReleaseError(shortage)


def explain_shortage(nodes: Objects, pods: Objects, of_pool: Objects, wanted: int) -> str:
    """Returns one sentence that says what to do where `wanted` pods like those `of_pool` find no room, else ""."""
    if not of_pool:
        return ""
    ask = read_ask(of_pool[0])
    usable = [node for node in nodes if _takes_pods(node)]
    placed = sum(1 for pod in of_pool if pod["spec"].get("nodeName"))
    room = placed + sum((_read_node(node) - _asked_of(node, pods)).holds(ask) for node in usable)
    if room >= wanted:
        return ""
    each = f"{ask.cpu:.3g} CPU and {ask.memory / 2**20:.0f} MiB each"
    there = f"{wanted} agent pods ({each}) are wanted, and this cluster's {len(usable)} node(s) have room for {room}"
    on_another = max((_read_node(node).holds(ask) for node in usable), default=0)
    more = len(usable) + math.ceil((wanted - room) / on_another) if on_another else math.inf
    if more > MAX_NODES:
        return f"{there}: it takes larger nodes."
    return f"{there}: run `NODES={more} make images` (with kind `make cluster-down` before it), then this again."


def read_ask(pod: Object) -> Resources:
    """Returns what the scheduler takes a pod to need: its containers together, or its greediest init container."""
    containers = [_read_requests(one) for one in pod["spec"]["containers"]]
    init = [_read_requests(one) for one in pod["spec"].get("initContainers", [])]
    cpu = max([sum(one.cpu for one in containers), *(one.cpu for one in init)])
    memory = max([sum(one.memory for one in containers), *(one.memory for one in init)])
    return Resources(cpu, memory, 1)


def _read_requests(container: Object) -> Resources:
    requests = container.get("resources", {}).get("requests", {})
    return Resources(_number(requests.get("cpu", "0")), _number(requests.get("memory", "0")), 0)


def _read_node(node: Object) -> Resources:
    has = node["status"]["allocatable"]
    return Resources(_number(has["cpu"]), _number(has["memory"]), int(has["pods"]))


def _asked_of(node: Object, pods: Objects) -> Resources:
    name = node["metadata"]["name"]
    asks = [read_ask(pod) for pod in pods if pod["spec"].get("nodeName") == name and not _is_over(pod)]
    return Resources(sum(ask.cpu for ask in asks), sum(ask.memory for ask in asks), len(asks))


def _takes_pods(node: Object) -> bool:
    taints = node["spec"].get("taints", [])
    return not node["spec"].get("unschedulable") and not any(taint["effect"] in _KEEPS_OFF for taint in taints)


def _is_of(pod: Object, namespace: str, pool: str) -> bool:
    metadata = pod["metadata"]
    is_of_pool = metadata["namespace"] == namespace and metadata.get("labels", {}).get(POOL_LABEL) == pool
    return is_of_pool and "deletionTimestamp" not in metadata and not _is_over(pod)


def _is_over(pod: Object) -> bool:
    return pod.get("status", {}).get("phase") in {"Succeeded", "Failed"}


def _number(quantity: str) -> float:
    return float(parse_quantity(quantity))
