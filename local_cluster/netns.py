"""The provider that needs neither Docker nor downloads: every node a network namespace of this machine."""

import fcntl
import json
import os
import platform
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from local_cluster import cgroups, control_plane, host_network, node, processes, registry
from local_cluster.binaries import COREDNS, HELM, KUBERNETES, PAUSE, ensure
from local_cluster.builders import Buildah
from local_cluster.commands import check_stopped, last_lines, run, succeeds
from local_cluster.errors import ClusterError
from local_cluster.images import COREDNS_IMAGE, PAUSE_IMAGE, ensure_pushed, reference
from local_cluster.layout import (
    API_URL,
    BUILD_STATE,
    CLUSTER_NAME,
    HOST_ADDRESS,
    MAX_NODES,
    PACKAGE,
    REGISTRY_PORT,
    STATE,
    cache_folder,
    node_cgroup,
    node_name,
    node_namespace,
)
from local_cluster.pki import Authority, write_kubeconfig
from local_cluster.progress import say, step

READY_SECONDS = 120.0
PATIENCE_SECONDS = 60.0
NEEDED_MEMORY_MIB = 2048
NEEDED_PROGRAMS = (
    "containerd",
    "runc",
    "etcd",
    "docker-registry",
    "buildah",
    "ip",
    "iptables",
    "nsenter",
    "unshare",
    "conntrack",
)
_RECORD = STATE / "cluster.json"
"""Written when all is ready: a cluster without it was cut short."""
_ADMIN_KUBECONFIG = STATE / "admin.kubeconfig"


class NetnsProvider:
    """Kubernetes from Go modules, with a bridge for a rack and a namespace for each machine in it."""

    name = "netns"
    registry = f"{HOST_ADDRESS}:{REGISTRY_PORT}"
    programs = (KUBERNETES, PAUSE, COREDNS, HELM)

    def check(self) -> None:
        """See Provider. What there is of a cluster, whole or a ruin, says itself what it is when `up` looks at it."""
        _check_machine()
        if not _exists():
            _check_memory()
            host_network.check_free()

    def up(self, nodes: int) -> Path:
        """Brings the cluster up, or leaves it alone when it is; returns an administrator's kubeconfig."""
        _check_machine()
        with _lock():
            running = self._running_nodes()
            if running:
                self._complete(running, nodes)
                return _ADMIN_KUBECONFIG
            if _exists():
                say("An earlier cluster ended half-way; what is left of it is taken away first.")
                _remove()
            started = time.monotonic()
            _check_memory()
            host_network.check_free()
            ensure(self.programs)
            self._start(nodes)
            say(f"The cluster is ready: {nodes} node(s), {time.monotonic() - started:.0f} s.")
        return _ADMIN_KUBECONFIG

    def down(self) -> None:
        """Takes everything away again, however much or little of it there is."""
        _check_machine(programs=("ip", "iptables"))
        with _lock():
            shutil.rmtree(BUILD_STATE, ignore_errors=True)
            if not _exists():
                say("There is no cluster.")
                return
            with step("taking the cluster away"):
                _remove()

    def status(self) -> list[str]:
        """What runs, a line each."""
        if not _exists():
            return ["There is no cluster. `make cluster` makes one."]
        if not _RECORD.exists():
            return ["A cluster was begun and not finished. `make cluster` takes it away and makes a new one."]
        record = json.loads(_RECORD.read_text())
        alive = processes.running_names()
        parts = [control_plane.NAME, *(node_name(number) for number in range(1, record["nodes"] + 1))]
        lines = [f"{part}: {'running' if part in alive else 'stopped'}" for part in parts]
        lines.append(f"API server {API_URL}: {'ready' if self._api_ready() else 'does not answer'}")
        lines.append(f"registry: {self.registry}, called localhost:{REGISTRY_PORT} on the nodes")
        lines.append(f"logs: {STATE}/*/*.log and {STATE}/node*/log/")
        return lines

    def node_down(self, number: int) -> None:
        """Cuts a node off at once, as a power cut would: no process of it says goodbye."""
        self._check_node(number)
        with _lock(), step(f"stopping {node_name(number)}"):
            host_network.set_node_link(number, up=False)
            processes.end(node_name(number))
            cgroups.remove(node_cgroup(number))

    def node_up(self, number: int) -> None:
        """Starts a stopped node again, with the disk it had; returns when it is Ready."""
        self._check_node(number)
        with _lock(), step(f"starting {node_name(number)}"):
            host_network.set_node_link(number, up=True)
            self._start_node(number)
            self._wait_until_nodes_ready([number])

    def preload(self, references: Sequence[str]) -> None:
        """Has every node that runs fetch the images now, so that no pod waits for them."""
        nodes = [number for number in range(1, MAX_NODES + 1) if _is_alive(number)]
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda number: _pull(number, references), nodes))

    def _complete(self, running: int, nodes: int) -> None:
        """Brings a cluster that is up to what was asked for: more nodes, or stopped ones started."""
        if _audit_wanted() and not control_plane.AUDIT_LOG.exists():
            raise ClusterError("AUDIT=1 counts when the cluster is made: `make cluster-down cluster AUDIT=1`.")
        stopped = [number for number in range(1, running + 1) if not _is_alive(number)]
        if not stopped and nodes <= running:
            say(f"The cluster is up already, with {running} node(s).")
            return
        with step(f"adding what is missing for {max(nodes, running)} node(s)"):
            for number in stopped:
                host_network.set_node_link(number, up=True)
            for number in range(running + 1, nodes + 1):
                host_network.add_node(number)
            if nodes > running:
                _share_memory(nodes)
            for number in range(1, max(nodes, running) + 1):
                self._start_node(number)
            self._wait_until_nodes_ready(range(1, max(nodes, running) + 1))
            self._wait_for_dns()
        _write_record(max(nodes, running))

    def _start_node(self, number: int) -> None:
        if not _is_alive(number):
            cgroups.create(node_cgroup(number))
            processes.start(node_name(number), network_namespace=node_namespace(number))

    def _start(self, nodes: int) -> None:
        STATE.mkdir(parents=True, mode=0o700)
        authority = Authority(STATE / "pki")
        admin = authority.issue("admin", "local-admin", organization="system:masters")
        write_kubeconfig(_ADMIN_KUBECONFIG, server=API_URL, authority=authority.certificate, identity=admin)
        with step("starting the control plane"):
            host_network.set_up(nodes)
            spec = control_plane.build(authority, admin, audit=_audit_wanted())
            processes.write_spec(control_plane.NAME, spec)
            processes.start(control_plane.NAME)
            registry.wait_until_ready(self.registry)
        for image in (PAUSE_IMAGE, COREDNS_IMAGE):
            ensure_pushed(image, Buildah(), self.registry)
        with step(f"starting {nodes} node(s)"):
            # Those that may be added later too: only now is the authority's key at hand.
            for number in range(1, MAX_NODES + 1):
                processes.write_spec(node_name(number), node.build(number, authority, reference(PAUSE_IMAGE)))
            _share_memory(nodes)
            self._wait_until_api_ready()
            for number in range(1, nodes + 1):
                self._start_node(number)
            self._apply_manifests()
            self._wait_until_nodes_ready(range(1, nodes + 1))
        with step("waiting for DNS"):
            self._wait_for_dns()
        _write_record(nodes)

    def _running_nodes(self) -> int:
        """How many nodes the running cluster has; 0 when there is none, or when it is not whole."""
        if not _RECORD.exists() or control_plane.NAME not in processes.running_names():
            return 0
        # A busy machine answers late; that is no reason to take its cluster for a ruin.
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self._api_ready():
            if time.monotonic() > deadline:
                return 0
            time.sleep(0.5)
        return int(json.loads(_RECORD.read_text())["nodes"])

    def _api_ready(self) -> bool:
        return succeeds(*_KUBECTL, "--request-timeout=5s", "get", "--raw", "/readyz")

    def _wait_until_api_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not self._api_ready():
            if time.monotonic() > deadline:
                log = control_plane.FOLDER / "kube-apiserver.log"
                raise ClusterError(f"The API server did not start; {log} ends with:\n{_end_of(log)}")
            time.sleep(0.1)

    def _wait_until_nodes_ready(self, numbers: Sequence[int]) -> None:
        deadline = time.monotonic() + READY_SECONDS
        wanted = {node_name(number) for number in numbers}
        while not wanted <= self._ready_nodes():
            if time.monotonic() > deadline:
                missing = sorted(wanted - self._ready_nodes())[0]
                log = STATE / missing / "log/kubelet.log"
                raise ClusterError(f"{missing} did not become Ready; {log} ends with:\n{_end_of(log)}")
            time.sleep(0.2)

    def _ready_nodes(self) -> set[str]:
        nodes = json.loads(self._kubectl("get", "nodes", "-o", "json"))["items"]
        return {item["metadata"]["name"] for item in nodes if _is_ready(item)}

    def _apply_manifests(self) -> None:
        text = (PACKAGE / "manifests/cluster.yaml").read_text()
        forward = "forward . /etc/resolv.conf" if "nameserver" in node.build_resolv_conf() else ""
        text = text.replace("$COREDNS", reference(COREDNS_IMAGE)).replace("$FORWARD", forward)
        self._kubectl("apply", "-f", "-", stdin=text)

    def _wait_for_dns(self) -> None:
        self._kubectl("-n", "kube-system", "rollout", "status", "daemonset/coredns", "--timeout=90s")

    def _kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return run(*_KUBECTL, *arguments, stdin=stdin)

    def _check_node(self, number: int) -> None:
        nodes = self._running_nodes()
        if not 1 <= number <= nodes:
            raise ClusterError(f"N={number} is no node of this cluster, which has {nodes}. Say N=1 up to N={nodes}.")


_KUBECTL = (KUBERNETES.path("kubectl"), f"--kubeconfig={_ADMIN_KUBECONFIG}")
_PULL = ["ctr", "--namespace=k8s.io", "images", "pull", f"--hosts-dir={node.CERTS_D}"]


def _audit_wanted() -> bool:
    return os.environ.get("AUDIT") == "1"


def _is_alive(number: int) -> bool:
    return processes.find_first_process(node_name(number)) is not None


def _pull(number: int, references: Sequence[str]) -> None:
    pid = processes.find_first_process(node_name(number))
    for name in references:
        run("nsenter", f"--target={pid}", "--mount", "--net", "--pid", "--", *_PULL, name, timeout=600)


def _share_memory(nodes: int) -> None:
    """Tells every node how much of the machine is its own; the kubelets that run start again with it."""
    for number in range(1, MAX_NODES + 1):
        node.write_kubelet_config(number, nodes)
        processes.end_program(node_name(number), "kubelet")


def _write_record(nodes: int) -> None:
    _RECORD.write_text(json.dumps({"nodes": nodes}) + "\n")


def _check_machine(programs: Sequence[str] = NEEDED_PROGRAMS) -> None:
    if platform.system() != "Linux":
        raise ClusterError("The netns cluster needs Linux. On this system use CLUSTER=kind, with Docker.")
    if os.geteuid() != 0:
        raise ClusterError("The netns cluster needs root: `sudo make cluster`. Without root use CLUSTER=kind.")
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        raise ClusterError(f"Not installed: {', '.join(missing)}. `make setup` installs them on Debian and Ubuntu.")


def _check_memory() -> None:
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    available = int(fields["MemAvailable"].split()[0]) // 1024
    if available < NEEDED_MEMORY_MIB:
        raise ClusterError(
            f"Only {available} MiB of memory are free, and a cluster needs {NEEDED_MEMORY_MIB} MiB before the first "
            "pod. End something large, or use a bigger machine."
        )


def _exists() -> bool:
    """Whether anything of a cluster is left on this machine, in whatever state."""
    return STATE.exists() or host_network.exists() or bool(processes.running_names()) or bool(_cgroups())


def _cgroups() -> list[str]:
    names = [node_cgroup(number) for number in range(1, MAX_NODES + 1)]
    return [name for name in names if cgroups.exists(name)]


def _remove() -> None:
    # Processes first: with them go their mounts, their pods and their pods' networks.
    for name in processes.running_names():
        processes.end(name)
    for name in _cgroups():
        cgroups.remove(name)
    host_network.take_down()
    shutil.rmtree(STATE, ignore_errors=True)


def _is_ready(item: dict[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in item["status"].get("conditions", []))


def _end_of(log: Path) -> str:
    return last_lines(log.read_text(errors="replace"), 5) if log.exists() else "(nothing)"


@contextmanager
def _lock() -> Iterator[None]:
    """One command at a time; a second one waits and says so."""
    cache_folder().mkdir(parents=True, exist_ok=True)
    with (cache_folder() / f"{CLUSTER_NAME}.lock").open("w") as file:
        if not _try_to_lock(file):
            say("Another command works on the cluster; waiting for it.")
            while not _try_to_lock(file):
                check_stopped()
                time.sleep(0.2)
        yield


def _try_to_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
