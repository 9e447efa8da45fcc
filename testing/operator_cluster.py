"""A namespace of a real API server with a kubelet of a few lines, and operators to run in it."""

import asyncio
import contextlib
import itertools
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from livekit.api import DeleteRoomRequest, ListRoomsRequest
from pydantic import SecretStr

from testing.livekit import KEY, SECRET, LiveKitServer
from testing.stub_pod import Exit, Script, StubPod
from voice_operator.__main__ import run_operator
from voice_operator.app import Operator
from voice_operator.kubernetes_api import ConflictError, KubernetesApi, NotFoundError, Raw
from voice_operator.settings import Keys, OperatorSettings
from voicesession import clock
from voicesession.models import VoiceSession
from voicesession.names import AGENT_POOLS, AGENT_PROFILES, API_VERSION, STATE_LABEL, VOICE_SESSIONS, WARM

WAIT_SECONDS = 20.0
_ADDRESSES = itertools.count(int.from_bytes(os.urandom(2)) % 60_000 + 256)

PROVIDER: Raw = {
    "name": "local",
    "local": True,
    "stt": {"model": "stt", "baseUrl": "http://models/v1"},
    "llm": {"model": "llm", "baseUrl": "http://models/v1"},
    "tts": {"model": "tts", "baseUrl": "http://models/v1"},
}


async def eventually(
    what: Callable[[], Awaitable[Any]], seconds: float = WAIT_SECONDS, why: Callable[[], object] = lambda: ""
) -> Any:
    """Returns the first true answer of `what`.

    Raises:
        AssertionError: none came in time.
    """
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        answer = await what()
        if answer:
            return answer
        assert asyncio.get_running_loop().time() < deadline, f"not within {seconds} s; {why()}"
        await asyncio.sleep(0.02)


@dataclass
class KubeletScript:
    """How pods start; changed by tests while they run.

    ready_after: seconds from the process to the kubelet saying Ready. unschedulable, image_error: in these words.
    exits: what the process ends with at once. node: where pods are bound to.
    """

    ready_after: float = 0.0
    unschedulable: str | None = None
    image_error: str | None = None
    exits: Exit | None = None
    node: str = "node-1"


class Kubelet:
    """Binds pods, runs a stub for each, tells their status, and ends them when they are deleted."""

    def __init__(self, api: KubernetesApi, namespace: str, public_key: str) -> None:
        self.script = KubeletScript()
        self.pod_script = Script()
        self.stubs: dict[str, StubPod] = {}  # by pod name
        self.lost: set[str] = set()  # names of pods whose node is gone: nothing is told of them any more
        self._api = api
        self._namespace = namespace
        self.public_key = public_key
        self._seen: set[str] = set()
        self._ending: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Works until cancelled."""
        try:
            while True:
                with contextlib.suppress(NotFoundError, ConflictError):
                    for raw in (await self._api.list_pods())[0]:
                        self._look_at(raw)
                await asyncio.sleep(0.03)
        finally:
            for task in list(self._tasks):
                task.cancel()
            for stub in self.stubs.values():
                await stub.stop()

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
                self._later(self._end(name, uid))
        elif uid not in self._seen:
            self._seen.add(uid)
            self._later(self._begin(name, uid))

    async def _begin(self, name: str, uid: str) -> None:
        script = self.script
        if script.unschedulable:
            condition = _condition("PodScheduled", False, "Unschedulable", script.unschedulable)
            await self._tell(name, {"phase": "Pending", "conditions": [condition]})
            return
        await self._bind(name)
        if script.image_error:
            waiting = {"reason": "ImagePullBackOff", "message": script.image_error}
            await self._tell(name, {"phase": "Pending", "containerStatuses": [_container({"waiting": waiting})]})
            return
        if script.exits:
            await self._tell_exit(name, script.exits)
            return
        number = next(_ADDRESSES)
        stub = StubPod(f"127.77.{number >> 8 & 255}.{number & 255}", uid, name, self.public_key, self.pod_script)
        stub.on_exit = lambda exit: self._tell_exit(name, exit)  # noqa: A006
        self.stubs[name] = stub
        await stub.start()
        running = _container({"running": {"startedAt": _stamp()}})
        status = {"phase": "Running", "podIP": stub.ip, "containerStatuses": [running]}
        if script.ready_after:
            await self._tell(name, {**status, "conditions": [_condition("Ready", False)]})
            await asyncio.sleep(script.ready_after)
        await self._tell(name, {**status, "conditions": [_condition("Ready", True)]})

    async def _end(self, name: str, uid: str) -> None:
        stub = self.stubs.get(name)
        if stub and stub.uid == uid:
            await stub.terminate()
            await stub.stop()
        body = {"gracePeriodSeconds": 0, "preconditions": {"uid": uid}}
        with contextlib.suppress(NotFoundError, ConflictError):
            await self._api.request("DELETE", self._path("pods", name), body)

    async def _bind(self, name: str) -> None:
        binding: Raw = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}}
        binding["target"] = {"name": self.script.node}
        with contextlib.suppress(NotFoundError, ConflictError):
            await self._api.request("POST", self._path("pods", name, "binding"), binding)

    async def _tell_exit(self, name: str, exit: Exit) -> None:  # noqa: A002 - what it is
        terminated = {"exitCode": exit.code, "reason": exit.reason, "message": exit.message}
        phase = "Succeeded" if exit.code == 0 else "Failed"
        conditions = [_condition("Ready", False, "PodCompleted")]
        statuses = [_container({"terminated": terminated})]
        await self._tell(name, {"phase": phase, "conditions": conditions, "containerStatuses": statuses})

    async def _tell(self, name: str, status: Raw) -> None:
        if name in self.lost:
            return
        with contextlib.suppress(NotFoundError, ConflictError):
            await self._api.request(
                "PATCH", self._path("pods", name, "status"), {"status": status}, "application/merge-patch+json"
            )

    def _path(self, *parts: str) -> str:
        return "/".join((f"/api/v1/namespaces/{self._namespace}", *parts))

    def _later(self, doing: Any) -> None:
        task = asyncio.ensure_future(doing)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class HookedApi(KubernetesApi):
    """A client with something that happens before or after its requests; hooks run in the loop they were given in."""

    def __init__(self, inner: KubernetesApi) -> None:
        super().__init__(inner._api, inner._namespace)
        self.requests: list[tuple[str, str]] = []
        self.before: Callable[[str, str, Any], Awaitable[None]] | None = None
        self.after: Callable[[str, str, Any], Awaitable[None]] | None = None

    async def request(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Raw:
        self.requests.append((method, path.split("?", maxsplit=1)[0]))
        if self.before:
            await self.before(method, path, body)
        answer = await super().request(method, path, body, content_type)
        if self.after:
            await self.after(method, path, body)
        return answer


def in_loop(loop: asyncio.AbstractEventLoop, doing: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Returns a hook that runs in `loop`, where the test and its stubs live, and waits for it."""

    async def hook(*arguments: Any) -> None:
        async def run() -> None:
            await doing(*arguments)

        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(run(), loop))

    return hook


def is_claim(method: str, path: str) -> bool:
    """Tells whether a request claims a pod."""
    return method == "PATCH" and "/pods/" in path


@dataclass
class OperatorCluster:
    """One test's namespace."""

    kubeconfig: Path
    namespace: str
    api: KubernetesApi
    kubelet: Kubelet
    settings: OperatorSettings
    _operators: list["RunningOperator"] = field(default_factory=list)

    def start_operator(
        self, make_api: Callable[[KubernetesApi], KubernetesApi] | None = None, kubeconfig: Path | None = None
    ) -> "RunningOperator":
        """Starts an operator in a thread of its own. `make_api` may put faults around its client."""
        running = RunningOperator(self.settings, kubeconfig or self.kubeconfig, make_api)
        self._operators.append(running)
        running.start()
        return running

    def start_hooked_operator(
        self,
        before: Callable[[str, str, Any], Awaitable[None]] | None = None,
        after: Callable[[str, str, Any], Awaitable[None]] | None = None,
    ) -> list[HookedApi]:
        """Starts an operator around whose requests something happens, in this loop. Its client is in the list soon."""
        loop = asyncio.get_running_loop()
        made: list[HookedApi] = []

        def make(inner: KubernetesApi) -> KubernetesApi:
            hooked = HookedApi(inner)
            hooked.before = in_loop(loop, before) if before else None
            hooked.after = in_loop(loop, after) if after else None
            made.append(hooked)
            return hooked

        self.start_operator(make)
        return made

    def start_operator_process(self, kubeconfig: Path | None = None) -> subprocess.Popen[bytes]:
        """Starts an operator as a process of its own, which may be killed."""
        values = self.settings.model_dump(exclude_none=True)
        environment = {
            name.upper(): value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            for name, value in values.items()
        }
        return subprocess.Popen(
            [sys.executable, "-m", "voice_operator"],
            env={**os.environ, **environment, "KUBECONFIG": str(kubeconfig or self.kubeconfig), "LOG_LEVEL": "DEBUG"},
        )

    def use_another_key(self, path: Path) -> None:
        """Has the next operator sign with a new key; pods that begin from now on know it."""
        write_signing_key(path)
        self.settings = self.settings.model_copy(update={"signing_key_file": path})
        self.kubelet.public_key = Keys(self.settings).public_pem

    async def stop_operators(self) -> None:
        """Stops all operators in threads."""
        for running in self._operators:
            await running.stop()
        self._operators.clear()

    async def create_pool(self, name: str = "default", **spec: Any) -> Raw:
        """Creates an AgentPool."""
        full = {"image": "agent", "providers": [PROVIDER], "warm": {"min": 1}, **spec}
        return await self.create(AGENT_POOLS, "AgentPool", name, full)

    async def create_profile(self, name: str = "default", **spec: Any) -> Raw:
        """Creates an AgentProfile."""
        return await self.create(AGENT_PROFILES, "AgentProfile", name, spec)

    async def create_session(self, name: str | None = None, **spec: Any) -> VoiceSession:
        """Creates a VoiceSession."""
        name = name or f"call-{secrets.token_hex(4)}"
        return VoiceSession.model_validate(await self.create(VOICE_SESSIONS, "VoiceSession", name, spec))

    async def create(self, plural: str, kind: str, name: str, spec: Raw) -> Raw:
        """Creates one of our objects."""
        body = {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}
        return await self.api.request("POST", self.path(plural), body)

    async def patch(self, plural: str, name: str, patch: Raw) -> Raw:
        """Merges a patch into one of our objects."""
        return await self.api.request("PATCH", self.path(plural, name), patch, "application/merge-patch+json")

    async def delete(self, plural: str, name: str) -> None:
        """Deletes one of our objects."""
        await self.api.request("DELETE", self.path(plural, name))

    async def get(self, plural: str, name: str) -> Raw | None:
        """Returns one of our objects, or None."""
        try:
            return await self.api.request("GET", self.path(plural, name))
        except NotFoundError:
            return None

    async def session(self, name: str) -> VoiceSession | None:
        """Returns a VoiceSession, or None."""
        raw = await self.get(VOICE_SESSIONS, name)
        return VoiceSession.model_validate(raw) if raw else None

    def path(self, plural: str, *parts: str) -> str:
        """Returns the path of one of our kinds or objects."""
        return "/".join((f"/apis/{API_VERSION}/namespaces/{self.namespace}", plural, *parts))

    async def pods(self) -> list[Raw]:
        """Returns all agent pods."""
        return (await self.api.list_pods())[0]

    async def wait_for_phase(self, name: str, *phases: str, seconds: float = WAIT_SECONDS) -> VoiceSession:
        """Returns the VoiceSession once it is in one of these phases."""
        last: list[object] = []

        async def look() -> VoiceSession | None:
            session = await self.session(name)
            last[:] = [session.status if session else "gone"]
            return session if session and session.status.phase in phases else None

        found = await eventually(look, seconds, lambda: f"{name}: {last}")
        assert isinstance(found, VoiceSession)
        return found

    async def wait_for_warm(self, count: int = 1) -> list[Raw]:
        """Returns the warm pods once so many are ready."""

        async def look() -> list[Raw]:
            found = [pod for pod in await self.pods() if is_warm_and_ready(pod)]
            return found if len(found) >= count else []

        found = await eventually(look)
        assert isinstance(found, list)
        return found

    def stub_of(self, session: VoiceSession) -> StubPod:
        """Returns the pod that has this call."""
        assert session.status.pod_name is not None
        return self.kubelet.stubs[session.status.pod_name]

    def stubs_with(self, session: VoiceSession) -> list[StubPod]:
        """Returns every pod that ever accepted this call."""
        uid = session.metadata.uid
        return [stub for stub in self.kubelet.stubs.values() if stub.assignment and stub.assignment.session_id == uid]


def is_warm_and_ready(pod: Raw) -> bool:
    """Tells whether this pod waits for a call."""
    conditions = (pod.get("status") or {}).get("conditions") or []
    ready = any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
    metadata = pod["metadata"]
    return ready and metadata["labels"][STATE_LABEL] == WARM and "deletionTimestamp" not in metadata


class RunningOperator:
    """An operator in a thread with an event loop of its own: kopf ends every task of its loop when it stops."""

    def __init__(
        self,
        settings: OperatorSettings,
        kubeconfig: Path,
        make_api: Callable[[KubernetesApi], KubernetesApi] | None,
    ) -> None:
        self.operator: Operator | None = None
        self._settings = settings
        self._kubeconfig = kubeconfig
        self._make_api = make_api
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def start(self) -> None:
        """Starts it."""
        self._thread.start()

    async def stop(self) -> None:
        """Stops it in good order."""
        self._stop.set()
        await asyncio.to_thread(self._thread.join, 20)
        assert not self._thread.is_alive(), "the operator does not stop"

    async def _run(self) -> None:
        api = await KubernetesApi.connect(self._settings.namespace, self._kubeconfig)
        if self._make_api:
            api = self._make_api(api)
        self.operator = Operator(self._settings, api, Keys(self._settings))
        await run_operator(self.operator, self._settings, self._stop)


@asynccontextmanager
async def operator_cluster(
    kubeconfig: Path, livekit: LiveKitServer, folder: Path, **settings: Any
) -> AsyncIterator[OperatorCluster]:
    """Makes a namespace with a kubelet; ends everything in it afterwards."""
    namespace = f"test-{secrets.token_hex(4)}"
    write_signing_key(folder / "signing.pem")
    (folder / "conversation.key").write_text(secrets.token_hex(32))
    made = OperatorSettings(
        **{
            "namespace": namespace,
            "http_port": 0,
            "livekit_url": f"http://127.0.0.1:{livekit.port}",
            "agent_livekit_url": livekit.url,
            "livekit_api_key": KEY,
            "livekit_api_secret": SecretStr(SECRET),
            "signing_key_file": folder / "signing.pem",
            "conversation_key_file": folder / "conversation.key",
            # Rooms of other tests in the same LiveKit would look like starts whose webhook was lost.
            "room_poll_seconds": 3600,
            **settings,
        }
    )
    api = await KubernetesApi.connect(namespace, kubeconfig)
    await create_namespace(api, namespace)
    kubelet = Kubelet(api, namespace, Keys(made).public_pem)
    task = asyncio.create_task(kubelet.run())
    cluster = OperatorCluster(kubeconfig, namespace, api, kubelet, made)
    try:
        yield cluster
    finally:
        await cluster.stop_operators()
        task.cancel()
        results = await asyncio.gather(task, return_exceptions=True)
        await api.close()
        await delete_rooms(livekit)
        raise_real_errors(results)


async def delete_rooms(livekit: LiveKitServer) -> None:
    """Deletes all rooms, so that the next test's operator finds none."""
    async with livekit.client() as client:
        for room in (await client.room.list_rooms(ListRoomsRequest())).rooms:
            await client.room.delete_room(DeleteRoomRequest(room=room.name))


def write_signing_key(path: Path) -> None:
    """Writes a new signing key of an operator."""
    key = Ed25519PrivateKey.generate()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


async def create_namespace(api: KubernetesApi, namespace: str) -> None:
    """Creates a namespace with the service account that a controller would make."""
    await api.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    await api.request("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": "default"}})


def raise_real_errors(results: Sequence[object]) -> None:
    """Raises what a task ended with, unless it was cancelled."""
    for result in results:
        if isinstance(result, Exception):
            raise result


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
