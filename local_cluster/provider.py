"""What every way to a cluster can do, and which one is meant."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from local_cluster.binaries import Program
from local_cluster.commands import succeeds
from local_cluster.current import CurrentProvider
from local_cluster.errors import ClusterError
from local_cluster.kind import KindProvider
from local_cluster.layout import MAX_NODES
from local_cluster.netns import NetnsProvider


class Provider(Protocol):
    """A cluster that can be made and taken away; every method raises ClusterError with a way out."""

    name: str

    @property
    def programs(self) -> Sequence[Program]:
        """What `up` needs built, in the order in which it is best built."""

    @property
    def registry(self) -> str:
        """Where images are pushed to from here, as host:port; nodes call it localhost:5000."""

    def check(self) -> None:
        """Refuses what `up` would refuse, before anything is built for it."""

    def up(self, nodes: int) -> Path:
        """Brings it up unless it is, and returns a kubeconfig."""

    def down(self) -> None:
        """Takes it away; no error when there is none."""

    def status(self) -> list[str]:
        """What runs, a line each."""

    def node_down(self, number: int) -> None:
        """Stops the n-th node without warning."""

    def node_up(self, number: int) -> None:
        """Starts it again and returns when it is Ready."""

    def preload(self, references: Sequence[str]) -> None:
        """Has the nodes fetch images before a pod asks for them."""


def choose_provider() -> Provider:
    """By CLUSTER=auto|kind|netns|current; auto is kind where Docker answers, netns else."""
    wanted = os.environ.get("CLUSTER") or "auto"
    if wanted == "auto":
        wanted = "kind" if succeeds("docker", "info") else "netns"
    if wanted == "kind":
        return KindProvider()
    if wanted == "netns":
        return NetnsProvider()
    if wanted == "current":
        return CurrentProvider()
    raise ClusterError(f"CLUSTER={wanted} is not known. Say CLUSTER=auto, kind, netns or current.")


def wanted_nodes() -> int:
    """By NODES=1|2|3, default 1."""
    text = os.environ.get("NODES") or "1"
    if not text.isdigit() or not 1 <= int(text) <= MAX_NODES:
        raise ClusterError(f"NODES={text} cannot be. Say NODES=1, 2 or {MAX_NODES}.")
    return int(text)
