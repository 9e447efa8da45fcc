"""Builds one node: containerd, kubelet and kube-proxy, in a file system view where everything has its usual place."""

import json
import os
from pathlib import Path

import yaml

from local_cluster.binaries import KUBERNETES
from local_cluster.layout import (
    API_URL,
    DNS_ADDRESS,
    HOST_ADDRESS,
    POD_NETWORK,
    REGISTRY_NAME,
    REGISTRY_PORT,
    STATE,
    node_address,
    node_cgroup,
    node_name,
    node_pod_network,
)
from local_cluster.pki import Authority, write_kubeconfig
from local_cluster.processes import ProgramSpec, SupervisorSpec

CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
CERTS_D = "/var/lib/node/certs.d"
RESOLV_CONFS = (Path("/run/systemd/resolve/resolv.conf"), Path("/etc/resolv.conf"))
PODS_PER_NODE = 250
MIB = 1024 * 1024
HOST_RESERVE_MIB = 1024
"""Memory that the nodes do not share out: the host's own and the control plane's."""

# The kubelet sets these, and they are the whole machine's: it gets files of its own to write to.
_MACHINE_SYSCTLS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
_BRIDGE_FILTER = "/proc/sys/net/bridge/bridge-nf-call-iptables"


def folder(number: int) -> Path:
    """Everything that the n-th node has on the host's disk."""
    return STATE / node_name(number)


def build(number: int, authority: Authority, pause_image: str) -> SupervisorSpec:
    """Writes the n-th node's configuration and returns the spec of its supervisor."""
    home = folder(number)
    for name in ("lib/node/bin", "lib/kubelet", "lib/containerd", "lib/cni", "log"):
        (home / name).mkdir(parents=True, exist_ok=True)
    _write_containerd_config(home, pause_image)
    _write_cni_config(home, number)
    _write_sysctls(home)
    _write_kubernetes_config(home, number, authority)
    sysctls = {"/proc/sys/net/ipv4/ip_forward": "1"}
    if Path(_BRIDGE_FILTER).exists():
        # Without it, a Service's answer between two pods of one node comes back untranslated.
        sysctls[_BRIDGE_FILTER] = "1"
    return SupervisorSpec(
        hostname=node_name(number),
        mounts=_build_mounts(home),
        sysctls=sysctls,
        programs=_build_programs(number),
    )


def write_kubelet_config(number: int, nodes: int) -> None:
    """Writes what the n-th of `nodes` kubelets reads when it starts."""
    config = _build_kubelet_config(number, nodes)
    (folder(number) / "lib/node/kubelet.yaml").write_text(yaml.safe_dump(config))


def _build_mounts(home: Path) -> list[list[str]]:
    programs = str(home / "lib/node/bin")
    return [
        *(["--bind", str(home / "sysctl" / name.replace("/", ".")), f"/proc/sys/{name}"] for name in _MACHINE_SYSCTLS),
        # First the programs, from the cache: what lies under /var/lib or /run on the host is hidden by the next ones.
        ["--bind", str(KUBERNETES.folder()), programs],
        ["-t", "tmpfs", "-o", "mode=755", "run", "/run"],
        ["--bind", str(home / "log"), "/var/log"],
        ["--rbind", str(home / "lib"), "/var/lib"],
    ]


def _build_programs(number: int) -> list[ProgramSpec]:
    bin_folder = "/var/lib/node/bin"
    config = "/var/lib/node"
    name = node_name(number)
    return [
        ProgramSpec(
            "containerd",
            ["containerd", "--config", f"{config}/containerd.toml"],
            log="/var/log/containerd.log",
        ),
        ProgramSpec(
            "kubelet",
            [
                f"{bin_folder}/kubelet",
                f"--kubeconfig={config}/kubelet.kubeconfig",
                f"--config={config}/kubelet.yaml",
                f"--hostname-override={name}",
                f"--node-ip={node_address(number)}",
            ],
            log="/var/log/kubelet.log",
            after=[CONTAINERD_SOCKET],
        ),
        ProgramSpec(
            "kube-proxy",
            [f"{bin_folder}/kube-proxy", f"--config={config}/kube-proxy.yaml", f"--hostname-override={name}"],
            log="/var/log/kube-proxy.log",
        ),
    ]


def _write_containerd_config(home: Path, pause_image: str) -> None:
    # restrict_oom_score_adj: a machine may not let us lower it, and then no sandbox would start at all.
    (home / "lib/node/containerd.toml").write_text(f"""version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "{CONTAINERD_SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause_image}"
  restrict_oom_score_adj = true
  max_concurrent_downloads = 8
  enable_unprivileged_ports = true
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{CERTS_D}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/var/lib/node/cni"
""")
    hosts = home / "lib/node/certs.d" / REGISTRY_NAME
    hosts.mkdir(parents=True, exist_ok=True)
    url = f"http://{HOST_ADDRESS}:{REGISTRY_PORT}"
    (hosts / "hosts.toml").write_text(f'server = "{url}"\n[host."{url}"]\n  capabilities = ["pull", "resolve"]\n')


def _write_cni_config(home: Path, number: int) -> None:
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "dataDir": "/var/lib/cni",
            "ranges": [[{"subnet": node_pod_network(number)}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    config = {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge, ports]}
    (home / "lib/node/cni").mkdir(parents=True, exist_ok=True)
    (home / "lib/node/cni/10-pods.conflist").write_text(json.dumps(config, indent=1))


def _write_sysctls(home: Path) -> None:
    (home / "sysctl").mkdir(exist_ok=True)
    for name, value in _MACHINE_SYSCTLS.items():
        (home / "sysctl" / name.replace("/", ".")).write_text(f"{value}\n")


def _write_kubernetes_config(home: Path, number: int, authority: Authority) -> None:
    config = home / "lib/node"
    name = node_name(number)
    identity = authority.issue(
        name, f"system:node:{name}", organization="system:nodes", hosts=[name, node_address(number)]
    )
    proxy = authority.issue(f"kube-proxy-{name}", "system:kube-proxy")
    for program, holder in (("kubelet", identity), ("kube-proxy", proxy)):
        write_kubeconfig(
            config / f"{program}.kubeconfig", server=API_URL, authority=authority.certificate, identity=holder
        )
    for source, target in (
        (authority.certificate, "ca.crt"),
        (identity.certificate, "kubelet.crt"),
        (identity.key, "kubelet.key"),
    ):
        (config / target).write_bytes(source.read_bytes())
    (config / "resolv.conf").write_text(build_resolv_conf())
    (config / "kube-proxy.yaml").write_text(yaml.safe_dump(_build_proxy_config()))


def _build_kubelet_config(number: int, nodes: int) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": "/var/lib/node/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": "/var/lib/node/kubelet.crt",
        "tlsPrivateKeyFile": "/var/lib/node/kubelet.key",
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "resolvConf": "/var/lib/node/resolv.conf",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{node_cgroup(number)}",
        "failCgroupV1": False,
        # Else it makes one below /usr.
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        "failSwapOn": False,
        "enforceNodeAllocatable": ["pods"],
        "systemReserved": {"memory": f"{_memory_of_others_mib(nodes)}Mi"},
        "maxPods": PODS_PER_NODE,
        "clusterDNS": [DNS_ADDRESS],
        "clusterDomain": "cluster.local",
        "serializeImagePulls": False,
        "registryPullQPS": 0,
        "kubeAPIQPS": 100,
        "kubeAPIBurst": 200,
        "eventRecordQPS": 50,
        "nodeStatusUpdateFrequency": "4s",
        "nodeLeaseDurationSeconds": 8,
        # Images are the cache that makes a pod start fast; only a disk that is really full ends that.
        "imageGCHighThresholdPercent": 99,
        "imageGCLowThresholdPercent": 98,
        "evictionHard": {"memory.available": "200Mi", "nodefs.available": "2%", "imagefs.available": "2%"},
        "shutdownGracePeriod": "0s",
    }


def _build_proxy_config() -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": "/var/lib/node/kube-proxy.kubeconfig"},
        "mode": "iptables",
        "clusterCIDR": POD_NETWORK,
        # The connection table is the machine's own: it keeps its size.
        "conntrack": {"maxPerCore": 0, "min": 0},
        "iptables": {"minSyncPeriod": "0.2s"},
    }


def _memory_of_others_mib(nodes: int) -> int:
    """What a node must leave alone: each thinks that the whole machine is its own."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // MIB
    share = (total - HOST_RESERVE_MIB) // nodes
    return total - share


def build_resolv_conf() -> str:
    """The host's name servers, without those that only answer on its own loopback."""
    for path in RESOLV_CONFS:
        if path.exists():
            lines = path.read_text().splitlines()
            return "".join(f"{line}\n" for line in lines if not line.startswith(("nameserver 127.", "nameserver ::1")))
    return ""
