"""Real calls of a release in the local cluster, and what may happen to their pods and nodes."""

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from benchmarks.call_stage import Call, Row
from benchmarks.release import until_refilled
from local_cluster import host_network
from local_cluster.layout import MAX_NODES, node_name
from testing.customer import joined_room
from testing.front_door import ask_for_connection
from testing.host_pods import processes_of_pod
from testing.release import Release, ReleaseError
from testing.release_calls import rows_of, voice_session_of, wait_for_end
from testing.speech import synthesize
from testing.standstill import stand_still
from testing.waiting import eventually_sync
from voicesession.names import POOL_LABEL, VOICE_SESSIONS

NODE_READY_SECONDS = 60
GONE_SECONDS = 30
# The kernel takes whom it finds worst: the agent, where those that ask for too much are many and small each.
_HOARDER = "python -c 'import time; hoard = bytearray(40 << 20); time.sleep(30)'"
_HOARD = f"echo 1000 > /proc/1/oom_score_adj; for each in $(seq 20); do {_HOARDER} & done; wait"


class LiveKitsNodeError(ReleaseError):
    """A node with LiveKit shall be cut off."""


@dataclass
class ReleaseStage:
    """Calls of a release. `spoken`: its customers speak, and do not type. `profile`: who answers."""

    release: Release
    spoken: bool = True
    profile: str = "default"
    _cut_off: set[str] = field(default_factory=set)
    _standing: list["subprocess.Popen[str]"] = field(default_factory=list)
    _front_door: str = ""

    def __post_init__(self) -> None:
        """Asks where the token service is, once."""
        self._front_door = f"http://{self.release.token_service_address()}"

    @asynccontextmanager
    async def call(self) -> AsyncIterator[Call]:
        """Yields a new call; its customer hangs up at the end."""
        connection = await asyncio.to_thread(ask_for_connection, self._front_door, profile=self.profile)
        async with joined_room(connection.server_url, connection.token) as customer:
            typed, spoken = list[str](), list[str]()

            async def say(text: str) -> float:
                if self.spoken:
                    spoken.append(text)
                    return await customer.say(await asyncio.to_thread(synthesize, self.release, text))
                typed.append(text)
                await customer.type(text)
                return time.monotonic()

            yield Call(connection.room, customer, say, typed, spoken)

    async def until_ready(self) -> None:
        """Waits until as many pods wait as should."""
        await until_refilled(self.release)

    async def pod_of(self, call: Call) -> str:
        """Returns the name of the pod that has the call now."""
        status = (await self._session_of(call)).get("status", {})
        if "podName" not in status:
            raise ReleaseError(f"the call in {call.room} has no pod: {status.get('phase')}")
        return str(status["podName"])

    async def hurt(self, call: Call, fault: str) -> float:
        """Has a fault happen to the pod that has the call; returns when it happened (monotonic)."""
        pod = await asyncio.to_thread(self.release.get, "pod", await self.pod_of(call))
        if fault == "node":
            return await asyncio.to_thread(self.cut_off, pod["spec"]["nodeName"])
        if fault == "hang":
            at = time.monotonic()
            # The agent is the first process of its pod.
            self._standing.append(await asyncio.to_thread(stand_still, min(pids_of(pod))))
            return at
        return await asyncio.to_thread(_FAULTS[fault], self.release, pod)

    async def mend(self) -> None:
        """Gives nodes that are cut off their network back, and waits for them; what stands still goes on."""
        for program in self._standing:
            program.kill()
            await asyncio.to_thread(program.wait)
        self._standing.clear()
        for node in sorted(self._cut_off):
            await asyncio.to_thread(self.give_back, node)

    async def move(self, call: Call) -> float:
        """Asks for the call to go on in another pod; returns when (monotonic)."""
        name = (await self._session_of(call))["metadata"]["name"]
        patch = json.dumps({"spec": {"move": str(time.time_ns())}})
        began = time.monotonic()
        await asyncio.to_thread(self.release.kubectl, "patch", VOICE_SESSIONS, name, "--type=merge", "-p", patch)
        return began

    async def rows_at_end(self, call: Call) -> list[Row]:
        """Returns the conversation's rows in order, once the call is over."""
        await asyncio.to_thread(wait_for_end, self.release, call.room)
        return await asyncio.to_thread(rows_of, self.release, call.room)

    def cut_off(self, node: str) -> float:
        """Takes a node's network away; returns when (monotonic).

        Raises:
            LiveKitsNodeError: the node has LiveKit.
        """
        if node == self.livekit_node():
            raise LiveKitsNodeError(f"{node} has LiveKit, without which there is no call: it is not cut off")
        number = _number_of(node)
        self._cut_off.add(node)
        at = time.monotonic()
        host_network.set_node_link(number, up=False)
        return at

    def give_back(self, node: str) -> None:
        """Gives a node its network back; returns when it is ready."""
        host_network.set_node_link(_number_of(node), up=True)
        self._cut_off.discard(node)
        wait = ("wait", "--for=condition=Ready", f"node/{node}", f"--timeout={NODE_READY_SECONDS}s")
        self.release.kubectl(*wait, timeout=NODE_READY_SECONDS + 10)

    def livekit_node(self) -> str:
        """Returns the name of the node on which LiveKit is."""
        pod = self.release.get("pods", "-l", "app.kubernetes.io/component=livekit")["items"][0]
        return str(pod["spec"]["nodeName"])

    async def _session_of(self, call: Call) -> Row:
        found = await asyncio.to_thread(voice_session_of, self.release, call.room)
        if found is None:
            raise ReleaseError(f"no VoiceSession has the room {call.room}")
        return found


def require_nodes(release: Release, count: int = 2) -> None:
    """Makes sure that calls can go to another node.

    Raises:
        testing.release.ReleaseError: there are fewer nodes.
    """
    if (there := len(release.get("nodes")["items"])) < count:
        raise ReleaseError(f"{count} nodes are needed, and this cluster has {there}: `make cluster NODES={count}`")


def drain_agents(release: Release, node: str, seconds: float) -> None:
    """Drains a node of its agent pods; it takes none until it is uncordoned. The release's other pods stay.

    Raises:
        testing.release.ReleaseError: pods are left after so many seconds.
    """
    command = ("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", f"--pod-selector={POOL_LABEL}")
    release.kubectl(*command, f"--timeout={seconds:.0f}s", timeout=seconds + 10)


def pids_of(pod: Row, program: str = "") -> list[int]:
    """Returns the processes of a pod.

    Raises:
        testing.release.ReleaseError: they cannot be seen from here.
    """
    if not (pids := processes_of_pod(pod["metadata"]["uid"], program)):
        raise ReleaseError(f"no process of pod {pod['metadata']['name']} is seen here: the netns cluster is needed")
    return pids


def signal_all(pids: list[int], number: signal.Signals) -> float:
    """Sends a signal to processes; returns when (monotonic)."""
    at = time.monotonic()
    for pid in pids:
        os.kill(pid, number)
    return at


def _kill(_release: Release, pod: Row) -> float:
    return signal_all(pids_of(pod), signal.SIGKILL)


def _starve(release: Release, pod: Row) -> float:
    agent = min(pids_of(pod))
    # Its own end is the agent's: kubectl calls that a failure.
    try:
        release.kubectl("exec", pod["metadata"]["name"], "--", "sh", "-c", _HOARD)
    except ReleaseError as error:
        if "not found" in str(error):
            raise
    eventually_sync(lambda: not _lives(agent), GONE_SECONDS, "the kernel has killed another one", pace=0.005)
    return time.monotonic()


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _delete(release: Release, pod: Row) -> float:
    at = time.monotonic()
    release.kubectl("delete", "pod", pod["metadata"]["name"], "--wait=false")
    return at


def _evict(release: Release, pod: Row) -> float:
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": namespace}}
    path = f"/api/v1/namespaces/{namespace}/pods/{name}/eviction"
    at = time.monotonic()
    release.kubectl("create", f"--raw={path}", "-f", "-", stdin=json.dumps(eviction))
    return at


def _number_of(node: str) -> int:
    return next(number for number in range(1, MAX_NODES + 1) if node_name(number) == node)


_FAULTS: dict[str, Callable[[Release, Row], float]] = {
    "kill": _kill,
    "oom": _starve,
    "delete": _delete,
    "evict": _evict,
}
