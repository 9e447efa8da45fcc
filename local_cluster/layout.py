"""Names, addresses and folders of the local cluster, all in one place."""

import os
from pathlib import Path

# One cluster per machine: its addresses are fixed, so its state is too. Only a test has a second one, by another name
# and in a network namespace of its own.
CLUSTER_NAME = os.environ.get("VOICE_AGENT_CLUSTER_NAME") or "voice-agent-cluster"

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = REPOSITORY / "local_cluster"
HANDOUT = REPOSITORY / ".cluster"
"""What a checkout holds of a running cluster: kubeconfig, bin/, images.json, images.yaml."""
KUBECONFIG = HANDOUT / "kubeconfig"

STATE = Path("/var/lib") / CLUSTER_NAME
"""What the machine holds of it: certificates, logs, the nodes' own folders. Gone after `down`."""
BUILD_STATE = Path("/run") / f"{CLUSTER_NAME}-images"
"""What the machine holds of images being built, with or without a cluster. Gone after `down`."""

BRIDGE = "vbr0"
HOST_ADDRESS = "10.245.0.1"
NODE_NETWORK = "10.245.0.0/24"
POD_NETWORK = "10.244.0.0/16"
SERVICE_NETWORK = "10.96.0.0/16"
OWN_NETWORKS = "10.244.0.0/15"
"""Nodes and pods together: what leaves this range is masqueraded."""
API_SERVICE_ADDRESS = "10.96.0.1"
DNS_ADDRESS = "10.96.0.10"
API_PORT = 6443
API_URL = f"https://{HOST_ADDRESS}:{API_PORT}"
ETCD_PORT = 23790
ETCD_PEER_PORT = 23800
REGISTRY_PORT = 5000

MAX_NODES = 3

REGISTRY_NAME = f"localhost:{REGISTRY_PORT}"
IMAGE_PREFIX = f"{REGISTRY_NAME}/voice-agent-operator"
"""How every image is called, in charts and on nodes; the nodes know where localhost:5000 really is."""


def node_name(number: int) -> str:
    """The Kubernetes name of the n-th node, counted from 1."""
    return f"node{number}"


def node_address(number: int) -> str:
    """The n-th node's own IP address."""
    return f"10.245.0.{10 + number}"


def node_pod_network(number: int) -> str:
    """The /24 that the n-th node's pods live in."""
    return f"10.244.{number}.0/24"


def node_namespace(number: int) -> str:
    """The network namespace, and the host's end of the veth pair, of the n-th node."""
    return f"vac-node{number}"


def node_cgroup(number: int) -> str:
    """The cgroup under which the n-th node's pods live, in every hierarchy."""
    return f"{CLUSTER_NAME}-node{number}"


def cache_folder() -> Path:
    """Where what is costly to make is kept between clusters."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "voice-agent-operator"
