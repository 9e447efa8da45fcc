"""A namespace of a real API server, operators to run in it, and a kubelet of a few lines whose pods are stubs."""

import asyncio
import secrets
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from kube.client import KubernetesApi, NotFoundError, Raw
from testing.hooked_api import HookedApi, in_loop
from testing.kubelet import Kubelet, running_kubelet
from testing.livekit import KEY, SECRET, LiveKitServer
from testing.running_operator import RunningOperator, start_operator_process, write_signing_key
from testing.stub_pod import StubPod
from testing.tickets import write_installation_key
from testing.waiting import WAIT_SECONDS, eventually
from voice_operator.settings import Keys, OperatorSettings
from voicesession.models import VoiceSession
from voicesession.names import AGENT_POOLS, AGENT_PROFILES, API_VERSION, STATE_LABEL, VOICE_SESSIONS, WARM

PROVIDER: Raw = {
    "name": "local",
    "local": True,
    "stt": {"model": "stt", "baseUrl": "http://models/v1"},
    "llm": {"model": "llm", "baseUrl": "http://models/v1"},
    "tts": {"model": "tts", "baseUrl": "http://models/v1"},
}


@dataclass
class OperatorNamespace:
    """One test's namespace."""

    kubeconfig: Path
    namespace: str
    api: KubernetesApi
    settings: OperatorSettings
    _operators: list[RunningOperator] = field(default_factory=list, kw_only=True)

    def start_operator(
        self,
        make_api: Callable[[KubernetesApi], KubernetesApi] | None = None,
        kubeconfig: Path | None = None,
        **settings: Any,
    ) -> RunningOperator:
        """Starts an operator in a thread of its own. `make_api` may put faults around its client.

        `settings`: what differs from the others; one that stands by another needs a `pod_name` of its own.
        """
        made = self.settings.model_copy(update=settings)
        running = RunningOperator(made, kubeconfig or self.kubeconfig, make_api)
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

    def start_operator_process(
        self, kubeconfig: Path | None = None, log: Path | None = None, **settings: Any
    ) -> subprocess.Popen[bytes]:
        """Starts an operator as a process of its own, which may be killed. `settings`: what differs from the others."""
        return start_operator_process(self.settings.model_copy(update=settings), kubeconfig or self.kubeconfig, log)

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

    async def evict(self, pod: str) -> None:
        """Evicts a pod, as a drain does.

        Raises:
            kube.client.ThrottledError: a budget is against it.
            kube.client.NotFoundError: there is none of this name.
        """
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
        await self.api.request("POST", f"/api/v1/namespaces/{self.namespace}/pods/{pod}/eviction", eviction)

    async def warm_pods(self) -> list[Raw]:
        """Returns the agent pods that wait for a call."""
        return [pod for pod in await self.pods() if is_warm_and_ready(pod)]

    async def wait_for_phase(self, name: str, *phases: str, seconds: float = WAIT_SECONDS) -> VoiceSession:
        """Returns the VoiceSession once it is in one of these phases."""
        last: list[object] = []

        async def look() -> VoiceSession | None:
            session = await self.session(name)
            last[:] = [session.status if session else "gone"]
            return session if session and session.status.phase in phases else None

        return await eventually(look, seconds, lambda: f"{name}: {last}")

    async def wait_for_warm(self, count: int = 1, seconds: float = WAIT_SECONDS) -> list[Raw]:
        """Returns the warm pods once so many are ready."""

        async def look() -> list[Raw]:
            found = await self.warm_pods()
            return found if len(found) >= count else []

        return await eventually(look, seconds)


@dataclass
class OperatorCluster(OperatorNamespace):
    """One test's namespace with a kubelet whose pods are stubs."""

    kubelet: Kubelet

    def use_another_key(self, path: Path) -> None:
        """Has the next operator sign with a new key; pods that begin from now on know it."""
        write_signing_key(path)
        self.settings = self.settings.model_copy(update={"signing_key_file": path})
        self.kubelet.public_key = Keys(self.settings).public_pem

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


@asynccontextmanager
async def operator_cluster(
    kubeconfig: Path, livekit: LiveKitServer, folder: Path, **settings: Any
) -> AsyncIterator[OperatorCluster]:
    """Makes a namespace with a kubelet; ends everything in it afterwards."""
    async with operator_namespace(kubeconfig, livekit, folder, **settings) as made:
        kubelet = Kubelet(made.api, made.namespace, Keys(made.settings).public_pem)
        cluster = OperatorCluster(made.kubeconfig, made.namespace, made.api, made.settings, kubelet)
        async with running_kubelet(kubelet):
            try:
                yield cluster
            finally:
                await cluster.stop_operators()


@asynccontextmanager
async def operator_namespace(
    kubeconfig: Path, livekit: LiveKitServer, folder: Path, **settings: Any
) -> AsyncIterator[OperatorNamespace]:
    """Makes a namespace, and the settings of operators in it, whose keys are in `folder`."""
    namespace = f"test-{secrets.token_hex(4)}"
    write_signing_key(folder / "signing.pem")
    (folder / "conversation.key").write_text(secrets.token_hex(32))
    made = OperatorSettings(
        **{
            "namespace": namespace,
            "http_port": 0,
            "calls_port": 0,
            "pod_name": "operator-a",  # one that begins anew is another container of this pod: it leads at once
            "livekit_url": f"http://127.0.0.1:{livekit.port}",
            "agent_livekit_url": livekit.url,
            "livekit_api_key": KEY,
            "livekit_api_secret": SecretStr(SECRET),
            "signing_key_file": folder / "signing.pem",
            "conversation_key_file": folder / "conversation.key",
            "installation_key_file": write_installation_key(folder),
            "room_poll_seconds": 3600,  # a test that wants it sooner says so
            **settings,
        }
    )
    async with AsyncExitStack() as stack:
        await livekit.delete_rooms()  # another test's would look like starts whose webhook was lost
        api = await KubernetesApi.connect(namespace, kubeconfig)
        stack.push_async_callback(api.close)
        await create_namespace(api, namespace)
        yield OperatorNamespace(kubeconfig, namespace, api, made)


async def create_namespace(api: KubernetesApi, namespace: str) -> None:
    """Creates a namespace with the service account that a controller would make."""
    await api.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    await api.request("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": "default"}})
