"""A kubelet whose pods are real agent processes, each at an address of its own, on nodes that can be cut off."""

import asyncio
import base64
import contextlib
import signal
import socket
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from kube.client import KubernetesApi, Raw
from testing.agent_forkserver import ForkedProcess, fork_agent
from testing.agent_pod import READY_SECONDS
from testing.kubelet import AnyKubelet
from testing.stub_pod import Exit
from testing.tasks import Tasks
from testing.waiting import eventually
from voicesession.names import AGENT_PORT

# More than a server lets wait to be accepted.
_MOST_WAITING = 1024
_CONNECT_SECONDS = 0.1
# How late a kubelet tells of an end: it looks once a second.
TOLD_AFTER_SECONDS = 0.7
SIGNALLED = 128


@dataclass
class ProcessPod:
    """One agent pod's process. `grace`: seconds from SIGTERM to SIGKILL."""

    ip: str
    uid: str
    name: str
    grace: float
    environment: Mapping[str, str]
    folder: Path
    on_exit: Callable[[Exit], Awaitable[None]] | None = None
    exit_reason: str = "Error"  # what the kubelet says of one that was killed
    process: ForkedProcess | None = None
    _tasks: Tasks = field(default_factory=Tasks)

    @property
    def log(self) -> str:
        """What it has written to its standard error so far."""
        return (self.folder / "log").read_text()

    @property
    def lives(self) -> bool:
        """Whether its process runs, or is stopped."""
        return self.process is not None and self.process.returncode is None

    async def start(self) -> None:
        """Starts the process."""
        own = {
            "AGENT_ADDRESS": self.ip,
            "PROVIDER_KEYS_FOLDER": str(self.folder / "keys"),
            "TERMINATION_LOG": str(self._termination_log),
        }
        self.process = await fork_agent({**self.environment, **own}, self.folder / "log", self.folder)
        self._tasks.start(self._watch(self.process))

    async def until_ready(self) -> None:
        """Waits until its readiness probe succeeds; or it has ended."""
        async with aiohttp.ClientSession() as http:

            async def is_ready() -> bool:
                with contextlib.suppress(aiohttp.ClientError):
                    async with http.get(f"http://{self.ip}:{AGENT_PORT}/readyz") as answer:
                        return answer.status == 200
                return not self.lives

            await eventually(is_ready, READY_SECONDS, lambda: self.log)

    async def terminate(self) -> None:
        """SIGTERM; returns when it has ended, or its grace is over."""
        self.signal(signal.SIGTERM)
        if self.process:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.grace):
                    await self.process.wait()

    async def stop(self) -> None:
        """Ends it without a word to anybody; the kubelet is not told."""
        await self._tasks.cancel()
        self.signal(signal.SIGKILL)
        if self.process:
            await self.process.wait()

    def kill(self, reason: str = "Error") -> None:
        """Kills it as the kernel does; `reason` is what the kubelet will say, "OOMKilled" for one."""
        self.exit_reason = reason
        self.signal(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal, if it lives."""
        if self.process and self.lives:
            self.process.send_signal(number)

    @property
    def _termination_log(self) -> Path:
        return self.folder / "termination"

    async def _watch(self, process: ForkedProcess) -> None:
        code = await process.wait()
        await asyncio.sleep(TOLD_AFTER_SECONDS)  # noqa: TID251 - as late as a kubelet
        message = self._termination_log.read_text() if self._termination_log.exists() else ""
        reason = "Completed" if code == 0 else self.exit_reason
        if self.on_exit:
            await self.on_exit(Exit(code if code >= 0 else SIGNALLED - code, reason, message))


class ProcessKubelet(AnyKubelet[ProcessPod]):
    """The kubelets of some nodes, which get pods in turn. `folder`: for the processes' logs and other files."""

    def __init__(self, api: KubernetesApi, namespace: str, folder: Path, nodes: tuple[str, ...]) -> None:
        super().__init__(api, namespace)
        self._folder = folder
        self._nodes = nodes
        self._node_of: dict[str, str] = {}  # by pod name
        self._cut: dict[str, list[socket.socket]] = {}  # by node: what keeps others from connecting
        self.cordoned: set[str] = set()  # nodes that get no pod

    def cut(self, node: str) -> None:
        """Cuts a node off: its processes say and hear nothing, connections stay open, new ones are not answered.

        Nobody tells of its pods any more.
        """
        self._cut[node] = []
        for pod in self.pods_on(node):
            self.lost.add(pod.name)
            pod.signal(signal.SIGSTOP)
            if pod.lives:
                self._cut[node] += _fill_up(pod.ip)

    def mend(self, node: str) -> None:
        """Brings a node back: its processes go on where they were."""
        for waiting in self._cut.pop(node, []):
            waiting.close()
        for pod in self.pods_on(node):
            self.lost.discard(pod.name)
            pod.signal(signal.SIGCONT)

    def node_of(self, pod: str) -> str:
        """Returns the node that the pod of this name is on."""
        return self._node_of[pod]

    def pods_on(self, node: str) -> list[ProcessPod]:
        """Returns the pods that were begun on a node."""
        return [pod for name, pod in self.processes.items() if self._node_of.get(name) == node]

    async def _make_process(self, ip: str, raw: Raw) -> ProcessPod:
        metadata, spec = raw["metadata"], raw["spec"]
        folder = Path(tempfile.mkdtemp(prefix=f"{metadata['name']}-", dir=self._folder))
        environment = await self._read_environment(raw)
        grace = float(spec["terminationGracePeriodSeconds"])
        return ProcessPod(ip, metadata["uid"], metadata["name"], grace, environment, folder)

    async def _tell_start(self, name: str, process: ProcessPod) -> None:
        await self._tell_running(name, process, ready=False)
        await process.until_ready()
        if process.lives:
            await self._tell_running(name, process, ready=True)

    async def _read_environment(self, raw: Raw) -> dict[str, str]:
        """Returns the variables of the pod's container; Secrets' among them."""
        return {
            variable["name"]: await self._read_source(raw, variable["valueFrom"])
            if "valueFrom" in variable
            else variable.get("value", "").replace("$$(", "$(")
            for variable in raw["spec"]["containers"][0]["env"]
        }

    async def _read_source(self, raw: Raw, source: Raw) -> str:
        if field_of := source.get("fieldRef"):
            return str(raw["metadata"][field_of["fieldPath"].removeprefix("metadata.")])
        reference = source["secretKeyRef"]
        secret = await self._api.request("GET", self._path("secrets", reference["name"]))
        return base64.b64decode(secret["data"][reference["key"]]).decode()

    def _choose_node(self, name: str) -> str:
        """Returns the node with the fewest pods among those that are there and not cordoned."""
        load = Counter(self._node_of[pod.name] for pod in self.processes.values() if pod.lives)
        load.update(node for starting, node in self._node_of.items() if starting not in self.processes)
        there = [node for node in self._nodes if node not in self._cut and node not in self.cordoned]
        self._node_of[name] = min(there, key=lambda node: load[node])
        return self._node_of[name]


def _fill_up(ip: str) -> list[socket.socket]:
    """Connects to a stopped pod until its kernel has no room for more, and no longer answers whoever connects."""
    waiting = []
    for _ in range(_MOST_WAITING):
        one = socket.socket()
        one.settimeout(_CONNECT_SECONDS)
        waiting.append(one)
        if one.connect_ex((ip, AGENT_PORT)) != 0:
            break
    return waiting
