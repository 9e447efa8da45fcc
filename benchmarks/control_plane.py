"""The control plane alone on this machine: API server, scheduler, LiveKit, simulated nodes and pods, and the operator.

kwok plays the kubelets: a pod that the scheduler has bound is Running and Ready after the time that a real one needs,
and gone once it is deleted. Its address is one of its node's, where stub_pods.py answers for all pods. The operator is
what runs in a cluster: a process of its own, signed in by its service account's token, with the chart's rights.
The Go programs collect garbage a quarter as often as by default: what little machine there is shall serve calls.
"""

import asyncio
import contextlib
import ipaddress
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from benchmarks.handover import Sessions
from benchmarks.operator_program import OperatorProgram, build_operator_environment
from benchmarks.processes import read_end, running, until_ready
from benchmarks.report import Progress
from benchmarks.tokens import connected
from kube.client import KubernetesApi, KubernetesUnavailableError, NotFoundError, Raw
from local_cluster.apiserver import running_apiserver
from local_cluster.binaries import HELM, KUBERNETES, KWOK, LIVEKIT, ensure
from local_cluster.ports import LOOPBACK, free_port
from testing.chart import NAMESPACE, find, render
from testing.crds import apply_crds
from testing.livekit import LiveKitServer, running_livekit
from testing.loopback import own_loopback
from testing.operator_cluster import PROVIDER, create_namespace
from testing.proxy import port_of_api_server, write_proxied_kubeconfig
from testing.running_operator import write_signing_key
from testing.tickets import write_installation_key
from voice_operator import lease
from voicesession.names import AGENT_POOLS, AGENT_PROFILES, API_VERSION, VOICE_SESSIONS
from voicesession.pod_tokens import load_private_key, public_key_pem

STUB = "benchmarks.stub_pods"
TALKING = "benchmarks.talking_pods"
NODES = 3
# Of each node: so many pods less two may be on it at once.
ADDRESSES_OF_NODE = 2048
# From create to Ready, as measured for real pods.
POD_START_SECONDS = 3.0
# Ends so soon that a stage sees whole lives of calls.
CALL_SECONDS = 10.0
TTL_SECONDS = 5
MAX_WARM = 10_000
MAX_STARTING = 300
# Of a pod whose image never arrives.
AWAY_IMAGE = "away"
CONVERSATION_KEY = "a key of more than 32 characters, for a benchmark"
FILL_SECONDS = 300.0
_LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/{lease.NAME}"
GO_SETTINGS = {"GOGC": "400"}

# What a kubelet would say, in kwok's templates.
_SAY_NODE_READY = """
conditions:
- {type: Ready, status: "True", reason: Simulated, message: "", lastTransitionTime: {{ Now | Quote }}}
"""
_SAY_POD_READY = """
{{ $now := Now }}
{{ $ips := PodIPsWith .spec.nodeName false .metadata.uid .metadata.name .metadata.namespace }}
phase: Running
startTime: {{ $now | Quote }}
hostIP: 127.0.0.1
podIP: {{ index $ips 0 | Quote }}
podIPs: [{ip: {{ index $ips 0 | Quote }}}]
conditions:
- {type: PodReadyToStartContainers, status: "True", lastTransitionTime: {{ $now | Quote }}}
- {type: Initialized, status: "True", lastTransitionTime: {{ $now | Quote }}}
- {type: ContainersReady, status: "True", lastTransitionTime: {{ $now | Quote }}}
- {type: Ready, status: "True", lastTransitionTime: {{ $now | Quote }}}
containerStatuses:
- name: agent
  image: agent
  ready: true
  started: true
  restartCount: 0
  state: {running: {startedAt: {{ $now | Quote }}}}
"""


# What a kubelet says of an image that it cannot pull.
_SAY_IMAGE_AWAY = """
containerStatuses:
- name: agent
  image: away
  ready: false
  started: false
  restartCount: 0
  state: {waiting: {reason: ImagePullBackOff, message: simulated}}
"""


async def _no_door(_peer: str, port: int) -> int:
    return port


@dataclass(frozen=True)
class Peers:
    """What the operators and the load find around them.

    `door`: told a peer's name (`api_server`, `livekit`) and its port of loopback, returns the one to reach it by.
    `agent_database`, `closer_database`: where agents and operators find a database of conversations, whose key is
    CONVERSATION_KEY; without, calls have no words.
    """

    door: Callable[[str, int], Awaitable[int]] = _no_door
    agent_database: str | None = None
    closer_database: str | None = None


@dataclass(frozen=True)
class ControlPlane:
    """What runs, and what a benchmark does with it."""

    api: KubernetesApi  # with all rights, and past every door
    sessions: Sessions
    livekit: LiveKitServer
    operators: Sequence[OperatorProgram]
    http: aiohttp.ClientSession
    _stub_url: str
    _programs: dict[Path, subprocess.Popen[bytes]]  # by log; without the operators, which a benchmark may end

    @property
    def operator(self) -> OperatorProgram:
        """Returns the operator; the first, where there are several."""
        return self.operators[0]

    async def read_holder(self) -> str | None:
        """Returns who holds the operators' Lease, empty where nobody does; None where there is no Lease yet."""
        try:
            lease = await self.api.request("GET", _LEASE)
        except (NotFoundError, KubernetesUnavailableError):
            return None
        return str(lease["spec"].get("holderIdentity") or "")

    async def set_answers(self, count: int) -> None:
        """Has each call that begins from now on measure so many answers, and with none nothing at all."""
        async with self.http.put(f"{self._stub_url}/answers/{count}") as answer:
            answer.raise_for_status()

    async def read_results(self) -> dict[str, Any]:
        """Returns what the pods tell: see stub_pods.py."""
        async with self.http.get(f"{self._stub_url}/results") as answer:
            results: dict[str, Any] = await answer.json()
            return results

    async def fill_pool(self, size: int, in_use: int = 0) -> None:
        """Has `size` pods wait beside those in use, and returns when they do and nothing else is going on."""
        await self.set_pool(min=size)
        await self._until_at_rest(size, Progress("pods wait for a call", size), in_use)

    async def read_said(self) -> dict[str, Any]:
        """Returns what was said in calls: see talking_pods.py."""
        async with self.http.get(f"{self._stub_url}/said") as answer:
            said: dict[str, Any] = await answer.json()
            return said

    async def set_pool(self, **warm: int) -> None:
        """Changes the pool's `spec.warm`."""
        await self.patch_pool("default", {"warm": warm})

    async def patch_pool(self, name: str, spec: Raw) -> None:
        """Changes what a pool's spec says of these."""
        await self.api.request("PATCH", _path(AGENT_POOLS, name), {"spec": spec}, "application/merge-patch+json")

    async def until_calls_are_gone(self, count: int, pool_size: int) -> None:
        """Returns when none of `count` VoiceSessions is left and the pool is full again."""
        progress = Progress("VoiceSessions expired", count)
        deadline = time.monotonic() + FILL_SECONDS
        while left := await self._count_sessions():
            progress.at(count - left)
            self._check(deadline)
            await asyncio.sleep(1)
        await self._until_at_rest(pool_size, Progress("pods wait for a call", pool_size))

    async def _until_at_rest(self, size: int, progress: Progress, in_use: int = 0) -> None:
        deadline = time.monotonic() + FILL_SECONDS
        while True:
            status = (await self._read_pool()).get("status") or {}
            if status.get("ready") == status.get("replicas") == size and (status.get("inUse") or 0) == in_use:
                return
            progress.at(status.get("ready") or 0)
            self._check(deadline)
            await asyncio.sleep(0.5)

    def _check(self, deadline: float) -> None:
        operators = {operator.log: operator.process for operator in self.operators}
        for log, process in {**self._programs, **operators}.items():
            if process.poll() is not None:
                raise RuntimeError(f"{log.stem} has ended:\n{read_end(log)}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"not at rest within {FILL_SECONDS:.0f} s:\n{self._read_logs()}")

    def _read_logs(self) -> str:
        logs = [*self._programs, *(operator.log for operator in self.operators)]
        return "\n".join(f"{log.stem}:\n{read_end(log)}" for log in logs)

    async def _count_sessions(self) -> int:
        page = await self.api.request("GET", f"{_path(VOICE_SESSIONS)}?limit=1")
        return len(page["items"]) + (page["metadata"].get("remainingItemCount") or 0)

    async def _read_pool(self) -> Raw:
        return await self.api.request("GET", _path(AGENT_POOLS, "default"))


@contextlib.asynccontextmanager
async def running_control_plane(
    folder: Path,
    apiserver_arguments: Sequence[str] = (),
    call_seconds: float = CALL_SECONDS,
    operators: int = 1,
    peers: Peers = Peers(),
) -> AsyncIterator[ControlPlane]:
    """Starts everything (about 10 s; the first time it builds what it needs), and ends it afterwards.

    `folder` is for keys and logs. `call_seconds`: how long each call lasts. `operators`: how many; one leads.
    """
    ensure([KUBERNETES, HELM, LIVEKIT, KWOK])
    os.environ.update(GO_SETTINGS)
    async with contextlib.AsyncExitStack() as stack:
        kubeconfig = stack.enter_context(running_apiserver(apiserver_arguments))
        livekit = stack.enter_context(running_livekit())
        livekit = replace(livekit, port=await peers.door("livekit", livekit.port))
        apply_crds(kubeconfig)
        api = await KubernetesApi.connect(NAMESPACE, kubeconfig)
        stack.push_async_callback(api.close)
        await create_namespace(api, NAMESPACE)
        networks = build_networks(stack.enter_context(own_loopback()))
        await _create_nodes(api, networks)
        await create_pool_and_profile(api)
        write_keys(folder)
        stub_port = free_port()
        stub_url = f"http://{LOOPBACK}:{stub_port}"
        pods = TALKING if peers.agent_database else STUB
        commands: list[tuple[str, list[str], dict[str, str]]] = [
            ("kube-scheduler", build_scheduler_command(folder, kubeconfig), GO_SETTINGS),
            ("kwok", build_kwok_command(folder, kubeconfig), GO_SETTINGS),
            (
                pods,
                build_pods_command(pods, folder, stub_port, call_seconds, networks),
                _database_environment(peers.agent_database),
            ),
        ]
        programs = {}
        for name, command, environment in commands:
            log = folder / f"{name}.log"
            programs[log] = stack.enter_context(running(command, log, environment))
        port = await peers.door("api_server", port_of_api_server(kubeconfig))
        kubeconfig = write_proxied_kubeconfig(kubeconfig, port, folder)
        admin = await stack.enter_async_context(connected(kubeconfig))
        log = folder / f"{pods}.log"
        await until_ready(admin.http, f"{stub_url}/readyz", programs[log], log)
        started = []
        for account in await _create_operator_accounts(api, operators):
            token = await _request_token(api, account)
            environment = build_operator_environment(folder, kubeconfig, account, token, livekit)
            environment |= _database_environment(peers.closer_database)
            user = f"system:serviceaccount:{NAMESPACE}:{account}"
            operator = stack.enter_context(OperatorProgram(folder / f"{account}.log", environment, user))
            await operator.until_ready(admin.http)
            started.append(operator)
        sessions = Sessions(admin.http, admin.url, NAMESPACE)
        yield ControlPlane(api, sessions, livekit, started, admin.http, stub_url, programs)


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Makes a folder for keys and logs, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="bench-control-plane-") as name:
        yield Path(name)


def write_keys(folder: Path) -> None:
    """Writes what the operator signs with, and what the pods know it by."""
    write_signing_key(folder / "signing.pem")
    public = public_key_pem(load_private_key((folder / "signing.pem").read_text()))
    (folder / "operator-public.pem").write_text(public)
    (folder / "conversation.key").write_text(CONVERSATION_KEY)
    write_installation_key(folder)


# Objects


def build_networks(loopback: str) -> list[str]:
    """Returns the addresses of each node's pods, out of a part of loopback."""
    first = ipaddress.IPv4Address(f"{loopback}.0.0")
    bits = first.max_prefixlen - (ADDRESSES_OF_NODE - 1).bit_length()
    return [f"{first + number * ADDRESSES_OF_NODE}/{bits}" for number in range(NODES)]


async def _create_nodes(api: KubernetesApi, networks: Sequence[str]) -> None:
    room = {"cpu": "100k", "memory": "100Ti", "pods": "100k"}
    for number, network in enumerate(networks, 1):
        name = f"simulated-{number}"
        node = {
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            # kwok gives the addresses of a node's pods out of this.
            "spec": {"podCIDR": network},
            "status": {"capacity": room, "allocatable": room},
        }
        await api.request("POST", "/api/v1/nodes", node)
        # The API server taints each new node; the controller that would take that back does not run.
        untainted = {"spec": {"taints": None}}
        await api.request("PATCH", f"/api/v1/nodes/{name}", untainted, "application/merge-patch+json")


async def _create_operator_accounts(api: KubernetesApi, count: int) -> list[str]:
    """Makes a service account with the chart's rights for each operator; returns their names.

    In a cluster they share one; here the API server's log is to tell them apart.
    """
    chart = await asyncio.to_thread(render)
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    account, binding = find(chart, "ServiceAccount", "operator"), find(chart, "RoleBinding", "operator")
    names = [f"{account['metadata']['name']}-{number}" for number in range(count)]
    for name in names:
        own = {**account, "metadata": {**account["metadata"], "name": name}}
        await api.request("POST", f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts", own)
    subjects = [{"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE} for name in names]
    for plural, each in (
        ("roles", find(chart, "Role", "operator")),
        ("rolebindings", {**binding, "subjects": subjects}),
    ):
        await api.request("POST", f"{rbac}/namespaces/{NAMESPACE}/{plural}", each)
    return names


async def _request_token(api: KubernetesApi, account: str) -> str:
    """Returns a token as the kubelet would mount it."""
    path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{account}/token"
    answer = await api.request("POST", path, {"spec": {"expirationSeconds": 7200}})
    return str(answer["status"]["token"])


async def create_pool_and_profile(api: KubernetesApi, name: str = "default", image: str = "agent") -> None:
    """Creates a pool of this name, and a profile of the same whose calls it serves."""
    warm = {"min": 0, "max": MAX_WARM, "maxStarting": MAX_STARTING}
    specs = {
        (AGENT_POOLS, "AgentPool"): {"image": image, "providers": [PROVIDER], "warm": warm},
        (AGENT_PROFILES, "AgentProfile"): {"pool": name, "limits": {"ttlSecondsAfterFinished": TTL_SECONDS}},
    }
    for (plural, kind), spec in specs.items():
        body = {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}
        await api.request("POST", _path(plural), body)


def _path(plural: str, *parts: str) -> str:
    return "/".join((f"/apis/{API_VERSION}/namespaces/{NAMESPACE}", plural, *parts))


# Programs


def build_scheduler_command(folder: Path, kubeconfig: Path) -> list[str]:
    """Returns the command line of kube-scheduler; writes its configuration."""
    config = folder / "scheduler.yaml"
    content = {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "leaderElection": {"leaderElect": False},
        "clientConnection": {"kubeconfig": str(kubeconfig), "qps": 1000, "burst": 1000},
    }
    config.write_text(yaml.safe_dump(content))
    return [str(KUBERNETES.path("kube-scheduler")), f"--config={config}", "--secure-port=0"]


def build_kwok_command(folder: Path, kubeconfig: Path) -> list[str]:
    """Returns the command line of kwok; writes what it does with pods."""
    config = folder / "kwok.yaml"
    config.write_text(yaml.safe_dump_all([_build_node_stage(), *_build_pod_stages()]))
    return [str(KWOK.path()), f"--config={config}", f"--kubeconfig={kubeconfig}", "--manage-all-nodes", "--v=WARN"]


def _database_environment(url: str | None) -> dict[str, str]:
    return {"DATABASE_URL": url} if url else {}


def _build_node_stage() -> Raw:
    """Returns the stage by which a node becomes ready; kwok plays no kubelet for one without."""
    ready = '.status.conditions.[] | select( .type == "Ready" ) | .status'
    stage = _build_stage("Node", "ready", {"key": ready, "operator": "NotIn", "values": ["True"]})
    stage["spec"]["next"] = {"statusTemplate": _SAY_NODE_READY}
    return stage


def _build_pod_stages() -> list[Raw]:
    """Returns the stages by which a bound pod becomes ready, and a deleted one is gone."""
    deleted = {"key": ".metadata.deletionTimestamp", "operator": "Exists"}
    pending = {"key": ".status.phase", "operator": "In", "values": ["Pending"]}
    alive = {**deleted, "operator": "DoesNotExist"}
    image = {"key": ".spec.containers.[].image", "values": [AWAY_IMAGE]}
    start = _build_stage("Pod", "start", alive, pending, {**image, "operator": "NotIn"})
    start["spec"]["delay"] = {"durationMilliseconds": round(POD_START_SECONDS * 1000)}
    start["spec"]["next"] = {"statusTemplate": _SAY_POD_READY}
    unsaid = {"key": ".status.containerStatuses.[].state.waiting.reason", "operator": "DoesNotExist"}
    wait = _build_stage("Pod", "wait", alive, pending, {**image, "operator": "In"}, unsaid)
    wait["spec"]["next"] = {"statusTemplate": _SAY_IMAGE_AWAY}
    # Said when it is all but gone: once is enough. kwok compares texts, and takes no number for one.
    grace = ".metadata.deletionGracePeriodSeconds | tostring"
    ending = {"key": grace, "operator": "NotIn", "values": ["0"]}
    end = _build_stage("Pod", "end", deleted, ending)
    end["spec"]["next"] = {"delete": True}
    return [start, wait, end]


def _build_stage(kind: str, name: str, *expressions: Raw) -> Raw:
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": name},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": kind},
            "selector": {"matchExpressions": list(expressions)},
        },
    }


def build_pods_command(module: str, folder: Path, port: int, call_seconds: float, networks: Sequence[str]) -> list[str]:
    """Returns the command line of what answers for all pods."""
    key = folder / "operator-public.pem"
    return [sys.executable, "-m", module, str(key), str(port), str(call_seconds), *networks]
