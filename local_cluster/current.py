"""The provider for a cluster that somebody else made: the one that KUBECONFIG points to."""

import os
from collections.abc import Sequence
from pathlib import Path

from local_cluster.binaries import HELM, KUBERNETES, ensure
from local_cluster.commands import run
from local_cluster.errors import ClusterError
from local_cluster.layout import REGISTRY_NAME


class CurrentProvider:
    """An existing cluster: used, never made, changed or taken away."""

    name = "current"
    programs = (KUBERNETES, HELM)

    @property
    def registry(self) -> str:
        """REGISTRY from the environment; the cluster's nodes must know it as localhost:5000."""
        return os.environ.get("REGISTRY") or REGISTRY_NAME

    def check(self) -> None:
        """See Provider."""
        if not _kubeconfig().exists():
            raise ClusterError(f"CLUSTER=current uses the cluster of KUBECONFIG, and {_kubeconfig()} does not exist.")

    def up(self, nodes: int) -> Path:
        """See Provider; `nodes` is what it has."""
        self.check()
        ensure(self.programs)
        kubeconfig = _kubeconfig()
        run(
            KUBERNETES.path("kubectl"), f"--kubeconfig={kubeconfig}", "--request-timeout=10s", "get", "--raw", "/readyz"
        )
        return kubeconfig

    def down(self) -> None:
        """Does nothing: it is not ours."""

    def status(self) -> list[str]:
        """See Provider."""
        return run(KUBERNETES.path("kubectl"), "--request-timeout=10s", "get", "nodes", "-o", "wide").splitlines()

    def node_down(self, number: int) -> None:
        """Refuses: it is not ours."""
        raise ClusterError("CLUSTER=current is not ours to break. Use CLUSTER=netns or CLUSTER=kind for this.")

    def node_up(self, number: int) -> None:
        """Refuses: it is not ours."""
        self.node_down(number)

    def preload(self, references: Sequence[str]) -> None:
        """Does nothing: its nodes fetch what their pods need."""


def _kubeconfig() -> Path:
    return Path(os.environ.get("KUBECONFIG") or Path.home() / ".kube/config")
