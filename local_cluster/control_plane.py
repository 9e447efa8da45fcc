"""Builds the command lines of the control plane: etcd, API server, controllers, scheduler and the image registry."""

from pathlib import Path

import yaml

from local_cluster.apiserver import build_apiserver_command, build_etcd_command
from local_cluster.binaries import KUBERNETES
from local_cluster.layout import (
    API_PORT,
    API_SERVICE_ADDRESS,
    API_URL,
    ETCD_PEER_PORT,
    ETCD_PORT,
    HOST_ADDRESS,
    REGISTRY_PORT,
    STATE,
    cache_folder,
)
from local_cluster.pki import Authority, Identity, write_kubeconfig
from local_cluster.processes import ProgramSpec, SupervisorSpec

NAME = "control-plane"
FOLDER = STATE / NAME
AUDIT_LOG = FOLDER / "audit.log"
AUDIT_LOG_MEBIBYTES = 2000
# A node that says nothing for so long is NotReady; its pods are evicted so much later: together well within 30 s.
NODE_GRACE_SECONDS = 12
EVICTION_DELAY_SECONDS = 5

_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}


def build(authority: Authority, admin: Identity, *, audit: bool) -> SupervisorSpec:
    """Writes what the programs read into FOLDER and returns the spec of their supervisor.

    `audit` logs who asked the API server for what, without the bodies, into AUDIT_LOG.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    server = authority.issue(
        "apiserver",
        "kube-apiserver",
        hosts=[
            HOST_ADDRESS,
            API_SERVICE_ADDRESS,
            "127.0.0.1",
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
        ],
    )
    etcd_data = FOLDER / "etcd"
    etcd_data.mkdir(exist_ok=True)
    return SupervisorSpec(
        # In memory: etcd waits for every fsync, and this cluster is made anew after each boot anyway.
        mounts=[["-t", "tmpfs", "-o", "mode=700", "etcd", str(etcd_data)]],
        programs=[
            _program(build_etcd_command(etcd_data / "data", authority, server, ETCD_PORT, ETCD_PEER_PORT)),
            _program(_build_apiserver(authority, server, admin, audit=audit)),
            _program(_build_controller_manager(authority)),
            _program(_build_scheduler(authority)),
            _program(_build_registry()),
        ],
    )


def _program(argv: list[str]) -> ProgramSpec:
    name = Path(argv[0]).name
    return ProgramSpec(name, argv, log=str(FOLDER / f"{name}.log"))


def _build_apiserver(authority: Authority, server: Identity, admin: Identity, *, audit: bool) -> list[str]:
    command = build_apiserver_command(
        authority, server, etcd_url=f"https://127.0.0.1:{ETCD_PORT}", address=HOST_ADDRESS, port=API_PORT
    )
    command += [
        "--allow-privileged=true",
        f"--kubelet-certificate-authority={authority.certificate}",
        f"--kubelet-client-certificate={admin.certificate}",
        f"--kubelet-client-key={admin.key}",
        "--kubelet-preferred-address-types=InternalIP",
        f"--default-not-ready-toleration-seconds={EVICTION_DELAY_SECONDS}",
        f"--default-unreachable-toleration-seconds={EVICTION_DELAY_SECONDS}",
    ]
    if audit:
        policy = FOLDER / "audit-policy.yaml"
        policy.write_text(yaml.safe_dump(_AUDIT_POLICY))
        command += [f"--audit-policy-file={policy}", f"--audit-log-path={AUDIT_LOG}", "--audit-log-mode=batch"]
        command += [f"--audit-log-maxsize={AUDIT_LOG_MEBIBYTES}"]  # whoever reads it wants all of it
    return command


def _build_controller_manager(authority: Authority) -> list[str]:
    return [
        str(KUBERNETES.path("kube-controller-manager")),
        f"--kubeconfig={_kubeconfig(authority, 'kube-controller-manager')}",
        f"--service-account-private-key-file={authority.folder / 'service-account.key'}",
        f"--root-ca-file={authority.certificate}",
        "--use-service-account-credentials=true",
        # Else it makes one below /usr.
        f"--flex-volume-plugin-dir={FOLDER / 'volume-plugins'}",
        "--leader-elect=false",
        "--secure-port=0",
        f"--node-monitor-grace-period={NODE_GRACE_SECONDS}s",
        "--node-monitor-period=2s",
        # The default evicts from one node in ten seconds; here a lost node's pods go at once.
        "--node-eviction-rate=10",
        "--secondary-node-eviction-rate=10",
        "--kube-api-qps=200",
        "--kube-api-burst=400",
    ]


def _build_scheduler(authority: Authority) -> list[str]:
    kubeconfig = _kubeconfig(authority, "kube-scheduler")
    config = FOLDER / "scheduler.yaml"
    content = {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "leaderElection": {"leaderElect": False},
        "clientConnection": {"kubeconfig": str(kubeconfig), "qps": 200, "burst": 400},
    }
    config.write_text(yaml.safe_dump(content))
    return [str(KUBERNETES.path("kube-scheduler")), f"--config={config}", "--secure-port=0"]


def _build_registry() -> list[str]:
    config = FOLDER / "registry.yaml"
    # Kept in the cache: images that have not changed need not be pushed again to the next cluster.
    storage = cache_folder() / "registry"
    storage.mkdir(parents=True, exist_ok=True)
    content = {
        "version": 0.1,
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(storage)}, "delete": {"enabled": True}},
        "http": {"addr": f"{HOST_ADDRESS}:{REGISTRY_PORT}"},
    }
    config.write_text(yaml.safe_dump(content))
    return ["docker-registry", "serve", str(config)]


def _kubeconfig(authority: Authority, component: str) -> Path:
    identity = authority.issue(component, f"system:{component}")
    return write_kubeconfig(
        FOLDER / f"{component}.kubeconfig", server=API_URL, authority=authority.certificate, identity=identity
    )
