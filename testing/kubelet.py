"""A kubelet of a few lines: it binds pods, runs a process for each, tells their status and ends them."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from kube.client import ConflictError, InvalidError, KubernetesApi, NotFoundError, Raw
from testing.loopback import loopback_of_process
from testing.stub_pod import Exit, Script, StubPod
from testing.tasks import Tasks
from voice_operator.pods.agent_pod import read_pod
from voicesession import clock

PACE_SECONDS = 0.03
_ADDRESSES = itertools.count(256)


@dataclass
class KubeletScript:
    """How pods start; changed by tests while they run.

    ready_after: seconds from the process to the kubelet saying Ready. unschedulable, image_error: in these words.
    stuck: they get no container, and Events of this reason and these words say why, nothing else.
    exits: what the process ends with at once. evicted: their node ends them, in these words.
    node: where pods are bound to.
    """

    ready_after: float = 0.0
    unschedulable: str | None = None
    image_error: str | None = None
    stuck: tuple[str, str] | None = None
    exits: Exit | None = None
    evicted: str | None = None
    node: str = "node-1"


class PodProcess(Protocol):
    """What runs in a pod, at an address of its own."""

    ip: str
    uid: str
    on_exit: Callable[[Exit], Awaitable[None]] | None  # told when it has ended by itself

    async def start(self) -> None:
        """Begins."""

    async def terminate(self) -> None:
        """Asks it to end; returns when it has, or its grace is over."""

    async def stop(self) -> None:
        """Ends it without a word to anybody."""


P = TypeVar("P", bound=PodProcess)


class AnyKubelet(Generic[P]):
    """Binds pods, runs a process for each, tells their status, and ends them when they are deleted."""

    def __init__(self, api: KubernetesApi, namespace: str) -> None:
        self.script = KubeletScript()
        self.scripts: dict[str, KubeletScript] = {}  # by pool, where it is another
        self.pace = PACE_SECONDS
        self.processes: dict[str, P] = {}  # by pod name
        self.lost: set[str] = set()  # names of pods whose node is gone: nothing is told of them any more
        self._api = api
        self._namespace = namespace
        self._seen: set[str] = set()
        self._ending: set[str] = set()
        self._tasks = Tasks()

    async def run(self) -> None:
        """Works until cancelled."""
        try:
            while True:
                with contextlib.suppress(NotFoundError, ConflictError):
                    for raw in (await self._api.list_pods())[0]:
                        self._look_at(raw)
                await asyncio.sleep(self.pace)  # noqa: TID251 - it looks again and again
        finally:
            await self._tasks.cancel()
            for process in self.processes.values():
                await process.stop()

    async def set_ready(self, name: str, *, ready: bool) -> None:
        """Tells that a pod is ready, or not any more."""
        await self._tell(name, {"conditions": [_condition("Ready", ready)]})

    def count_seen(self) -> int:
        """Returns how many pods there ever were."""
        return len(self._seen)

    def _look_at(self, raw: Raw) -> None:
        name, uid = raw["metadata"]["name"], raw["metadata"]["uid"]
        if name in self.lost:
            return
        if raw["metadata"].get("deletionTimestamp"):
            if uid not in self._ending:
                self._ending.add(uid)
                self._tasks.start(self._end(name, uid))
        elif uid not in self._seen:
            self._seen.add(uid)
            self._tasks.start(self._begin(name, raw))

    async def _begin(self, name: str, raw: Raw) -> None:
        script = self.scripts.get(read_pod(raw).pool, self.script)
        if script.unschedulable:
            condition = _condition("PodScheduled", False, "Unschedulable", script.unschedulable)
            await self._tell(name, {"phase": "Pending", "conditions": [condition]})
            return
        await self._bind(name)
        if script.image_error:
            waiting = {"reason": "ImagePullBackOff", "message": script.image_error}
            await self._tell(name, {"phase": "Pending", "containerStatuses": [_container({"waiting": waiting})]})
            return
        if script.stuck:
            await self._tell_stuck(raw, *script.stuck)
            return
        if script.exits:
            await self._tell_exit(name, script.exits)
            return
        if script.evicted:
            await self._tell(name, {"phase": "Failed", "reason": "Evicted", "message": script.evicted})
            return
        number = next(_ADDRESSES)
        process = await self._make_process(f"{loopback_of_process()}.{number >> 8 & 255}.{number & 255}", raw)
        process.on_exit = lambda exit: self._tell_exit(name, exit)  # noqa: A006
        self.processes[name] = process
        await process.start()
        await self._tell_start(name, process)

    async def _make_process(self, ip: str, raw: Raw) -> P:
        raise NotImplementedError

    async def _tell_start(self, name: str, process: P) -> None:
        raise NotImplementedError

    async def _tell_running(self, name: str, process: P, *, ready: bool) -> None:
        running = _container({"running": {"startedAt": _stamp()}})
        conditions = [_condition("Ready", ready)]
        status = {"phase": "Running", "podIP": process.ip, "containerStatuses": [running], "conditions": conditions}
        await self._tell(name, status)

    async def _tell_stuck(self, pod: Raw, reason: str, message: str) -> None:
        name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
        waiting = _container({"waiting": {"reason": "ContainerCreating"}})
        await self._tell(name, {"phase": "Pending", "containerStatuses": [waiting]})
        about = {"apiVersion": "v1", "kind": "Pod", "namespace": self._namespace, "name": name, "uid": uid}
        event = {"involvedObject": about, "type": "Warning", "reason": reason, "message": message, "count": 1}
        stamps = {"firstTimestamp": _stamp(), "lastTimestamp": _stamp(), "source": {"component": "kubelet"}}
        await self._api.create_event({"metadata": {"generateName": f"{name}."}, **event, **stamps})

    async def _end(self, name: str, uid: str) -> None:
        process = self.processes.get(name)
        if process and process.uid == uid:
            await process.terminate()
            await process.stop()
        body = {"gracePeriodSeconds": 0, "preconditions": {"uid": uid}}
        with contextlib.suppress(NotFoundError, ConflictError):
            await self._api.request("DELETE", self._path("pods", name), body)

    async def _bind(self, name: str) -> None:
        binding: Raw = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}}
        binding["target"] = {"name": self._choose_node(name)}
        with contextlib.suppress(NotFoundError, ConflictError):
            await self._api.request("POST", self._path("pods", name, "binding"), binding)

    def _choose_node(self, _name: str) -> str:
        return self.script.node

    async def _tell_exit(self, name: str, exit: Exit) -> None:  # noqa: A002 - what it is
        terminated = {"exitCode": exit.code, "reason": exit.reason, "message": exit.message}
        phase = "Succeeded" if exit.code == 0 else "Failed"
        conditions = [_condition("Ready", False, "PodCompleted")]
        statuses = [_container({"terminated": terminated})]
        await self._tell(name, {"phase": phase, "conditions": conditions, "containerStatuses": statuses})

    async def _tell(self, name: str, status: Raw) -> None:
        if name in self.lost:
            return
        with contextlib.suppress(NotFoundError, ConflictError, InvalidError):
            await self._api.request(
                "PATCH", self._path("pods", name, "status"), {"status": status}, "application/merge-patch+json"
            )

    def _path(self, *parts: str) -> str:
        return "/".join((f"/api/v1/namespaces/{self._namespace}", *parts))


class Kubelet(AnyKubelet[StubPod]):
    """A kubelet whose pods are stubs. `public_key`: of the pods' operator."""

    def __init__(self, api: KubernetesApi, namespace: str, public_key: str) -> None:
        super().__init__(api, namespace)
        self.pod_script = Script()
        self.public_key = public_key

    @property
    def stubs(self) -> dict[str, StubPod]:
        """Returns the pods' processes, by the names of the pods."""
        return self.processes

    async def _make_process(self, ip: str, raw: Raw) -> StubPod:
        metadata = raw["metadata"]
        return StubPod(ip, metadata["uid"], metadata["name"], self.public_key, self.pod_script, read_pod(raw).seal_key)

    async def _tell_start(self, name: str, process: StubPod) -> None:
        if seconds := self.script.ready_after:
            await self._tell_running(name, process, ready=False)
            await asyncio.sleep(seconds)  # noqa: TID251 - as told
        await self._tell_running(name, process, ready=True)


@contextlib.asynccontextmanager
async def running_kubelet(kubelet: AnyKubelet[P]) -> AsyncIterator[None]:
    """Has a kubelet work meanwhile; whatever ended it is raised when the block ends."""
    task = asyncio.create_task(kubelet.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _condition(kind: str, value: bool, reason: str = "Test", message: str = "") -> Raw:
    return {
        "type": kind,
        "status": "True" if value else "False",
        "reason": reason,
        "message": message,
        "lastTransitionTime": _stamp(),
    }


def _container(state: Raw) -> Raw:
    return {
        "name": "agent",
        "image": "agent",
        "imageID": "",
        "ready": "running" in state,
        "restartCount": 0,
        "state": state,
    }


def _stamp() -> str:
    return clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
