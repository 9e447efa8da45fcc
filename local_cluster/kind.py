"""The provider for machines with Docker: kind, with a registry beside it.

The thin path: it follows kind's documentation for a local registry.
"""

from collections.abc import Sequence
from pathlib import Path

import yaml

from local_cluster.binaries import HELM, KIND, KUBERNETES, ensure
from local_cluster.commands import run, succeeds
from local_cluster.errors import ClusterError
from local_cluster.layout import CLUSTER_NAME, PACKAGE, REGISTRY_NAME, REGISTRY_PORT, cache_folder
from local_cluster.progress import say, step

_REGISTRY = f"{CLUSTER_NAME}-registry"
_REGISTRY_IMAGE = "registry:2"


class KindProvider:
    """kind in Docker; NODES counts workers, which are what runs pods."""

    name = "kind"
    registry = REGISTRY_NAME
    programs = (KIND, KUBERNETES, HELM)

    def check(self) -> None:
        """See Provider."""
        if not succeeds("docker", "info"):
            raise ClusterError("CLUSTER=kind needs a Docker daemon that answers `docker info`. Else use CLUSTER=netns.")

    def up(self, nodes: int) -> Path:
        """See Provider."""
        self.check()
        ensure(self.programs)
        kubeconfig = cache_folder() / "kind.kubeconfig"
        if self._exists():
            say("The kind cluster is up already.")
        else:
            with step(f"kind: {nodes} worker(s)"):
                config = cache_folder() / "kind.yaml"
                config.write_text(yaml.safe_dump(_build_config(nodes)))
                create = ["create", "cluster", f"--name={CLUSTER_NAME}", f"--config={config}", "--wait=180s"]
                run(KIND.path(), *create, f"--kubeconfig={kubeconfig}", timeout=900)
                self._connect_registry()
        kubeconfig.write_text(run(KIND.path(), "get", "kubeconfig", f"--name={CLUSTER_NAME}"))
        kubeconfig.chmod(0o600)
        return kubeconfig

    def down(self) -> None:
        """See Provider."""
        ensure([KIND])
        run(KIND.path(), "delete", "cluster", f"--name={CLUSTER_NAME}", timeout=300)
        succeeds("docker", "rm", "--force", "--volumes", _REGISTRY)

    def status(self) -> list[str]:
        """See Provider."""
        if not self._exists():
            return ["There is no kind cluster. `make cluster` makes one."]
        return [f"{node}: running" for node in self._nodes()] + [f"registry: {self.registry}"]

    def node_down(self, number: int) -> None:
        """See Provider."""
        run("docker", "kill", self._worker(number))

    def node_up(self, number: int) -> None:
        """See Provider."""
        run("docker", "start", self._worker(number))
        run(KUBERNETES.path("kubectl"), f"--kubeconfig={cache_folder() / 'kind.kubeconfig'}", "wait", "--timeout=120s",
            "--for=condition=Ready", f"node/{self._worker(number)}")  # fmt: skip

    def preload(self, references: Sequence[str]) -> None:
        """See Provider."""
        for node in self._nodes():
            for reference in references:
                run("docker", "exec", node, "crictl", "pull", reference, timeout=600)

    def _exists(self) -> bool:
        return KIND.path().exists() and CLUSTER_NAME in run(KIND.path(), "get", "clusters").split()

    def _nodes(self) -> list[str]:
        return run(KIND.path(), "get", "nodes", f"--name={CLUSTER_NAME}").split()

    def _worker(self, number: int) -> str:
        workers = sorted(node for node in self._nodes() if "worker" in node)
        if not 1 <= number <= len(workers):
            raise ClusterError(f"N={number} is no node of this cluster. Say N=1 up to N={len(workers)}.")
        return workers[number - 1]

    def _connect_registry(self) -> None:
        publish = f"127.0.0.1:{REGISTRY_PORT}:5000"
        if not succeeds("docker", "inspect", _REGISTRY):
            run("docker", "run", "--detach", f"--name={_REGISTRY}", "--publish", publish, _REGISTRY_IMAGE, timeout=300)
        succeeds("docker", "network", "connect", "kind", _REGISTRY)
        folder = f"/etc/containerd/certs.d/{REGISTRY_NAME}"
        hosts = f'[host."http://{_REGISTRY}:5000"]\n'
        for node in self._nodes():
            run("docker", "exec", node, "mkdir", "-p", folder)
            run("docker", "exec", "--interactive", node, "cp", "/dev/stdin", f"{folder}/hosts.toml", stdin=hosts)


def _build_config(nodes: int) -> dict[str, object]:
    config: dict[str, object] = yaml.safe_load((PACKAGE / "kind.yaml").read_text())
    config["nodes"] = [{"role": "control-plane"}, *({"role": "worker"} for _ in range(nodes))]
    return config
