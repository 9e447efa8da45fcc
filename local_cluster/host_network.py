"""The host's side of the network: one bridge, a namespace and a veth pair per node, one masquerade rule."""

import ipaddress
import json
import socket
import time
from pathlib import Path

from local_cluster.commands import run, succeeds
from local_cluster.errors import ClusterError
from local_cluster.layout import (
    API_PORT,
    BRIDGE,
    CLUSTER_NAME,
    ETCD_PEER_PORT,
    ETCD_PORT,
    HOST_ADDRESS,
    MAX_NODES,
    NODE_NETWORK,
    OWN_NETWORKS,
    REGISTRY_PORT,
    SERVICE_NETWORK,
    STATE,
    node_address,
    node_namespace,
    node_pod_network,
)

FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
NAMESPACES = Path("/run/netns")
_BEFORE = STATE / "network-before.json"
_MASQUERADE = ["POSTROUTING", "-s", OWN_NETWORKS, "!", "-d", OWN_NETWORKS]
_MASQUERADE += ["-m", "comment", "--comment", CLUSTER_NAME, "-j", "MASQUERADE"]
DELETE_SECONDS = 10.0
PORTS = (
    ("127.0.0.1", ETCD_PORT),
    ("127.0.0.1", ETCD_PEER_PORT),
    (HOST_ADDRESS, API_PORT),
    (HOST_ADDRESS, REGISTRY_PORT),
)
_IP_FREEBIND = 15  # linux/in.h; the socket module does not name it


def check_free() -> None:
    """Raises ClusterError when an address range or a port that the cluster needs is somebody else's."""
    ours = [ipaddress.ip_network(text) for text in (OWN_NETWORKS, SERVICE_NETWORK)]
    for route in json.loads(run("ip", "-json", "-4", "route", "show", "table", "all") or "[]"):
        destination = route.get("dst", "default")
        if destination == "default":
            continue
        used = ipaddress.ip_network(destination, strict=False)
        if any(used.overlaps(own) for own in ours):
            raise ClusterError(
                f"The address range {destination} is in use here (on {route.get('dev', '?')}), and the local cluster "
                f"needs {OWN_NETWORKS} and {SERVICE_NETWORK}. Free it, or use CLUSTER=kind or CLUSTER=current."
            )
    for address, port in PORTS:
        _check_port_free(address, port)


def _check_port_free(address: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # The bridge's address does not exist yet; who listens on every address is in its way nevertheless.
        probe.setsockopt(socket.SOL_IP, _IP_FREEBIND, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            raise ClusterError(
                f"Port {port} on {address} is in use: `ss -ltnp 'sport = :{port}'` says by whom. End that first."
            ) from error


def set_up(nodes: int) -> None:
    """Makes the bridge, the rule for egress, and every node's network namespace."""
    before = {"forwarding": FORWARDING.read_text().strip(), "namespaces": NAMESPACES.exists()}
    _BEFORE.write_text(json.dumps(before))
    run("ip", "link", "add", BRIDGE, "type", "bridge")
    run("ip", "address", "add", f"{HOST_ADDRESS}/24", "dev", BRIDGE)
    run("ip", "link", "set", BRIDGE, "up")
    FORWARDING.write_text("1")
    run("iptables", "-w", "-t", "nat", "-A", *_MASQUERADE)
    for number in range(1, nodes + 1):
        add_node(number)


def take_down() -> None:
    """Removes whatever of it there is; what is not there is no error."""
    for number in range(1, MAX_NODES + 1):
        name = node_namespace(number)
        if (NAMESPACES / name).exists():
            run("ip", "netns", "delete", name)
        _delete_link(name)
    while succeeds("iptables", "-w", "-t", "nat", "-C", *_MASQUERADE):
        run("iptables", "-w", "-t", "nat", "-D", *_MASQUERADE)
    _delete_link(BRIDGE)
    if _BEFORE.exists():
        before = json.loads(_BEFORE.read_text())
        FORWARDING.write_text(before["forwarding"])
        if not before["namespaces"] and NAMESPACES.exists() and not list(NAMESPACES.iterdir()):
            # `ip netns add` leaves its folder behind, mounted on itself.
            succeeds("umount", "--no-mtab", NAMESPACES)
            NAMESPACES.rmdir()
        _BEFORE.unlink()


def _delete_link(name: str) -> None:
    # A veth goes with its namespace, a moment later: it may be gone between two looks.
    deadline = time.monotonic() + DELETE_SECONDS
    while succeeds("ip", "link", "show", name):
        if not succeeds("ip", "link", "delete", name) and time.monotonic() > deadline:
            raise ClusterError(f"The network link {name} cannot be deleted: see `ip link show {name}`.")


def exists() -> bool:
    """Whether anything of the cluster's network is there."""
    names = [node_namespace(number) for number in range(1, MAX_NODES + 1)]
    return succeeds("ip", "link", "show", BRIDGE) or any((NAMESPACES / name).exists() for name in names)


def set_node_link(number: int, *, up: bool) -> None:
    """Plugs a node's network cable in or out: a lost node breaks no connection, it falls silent."""
    run("ip", "link", "set", node_namespace(number), "up" if up else "down")
    if up:
        run("ip", "route", "replace", node_pod_network(number), "via", node_address(number))


def add_node(number: int) -> None:
    """Makes the n-th node's namespace and plugs it into the bridge."""
    name = node_namespace(number)
    inside = ("ip", "-n", name)
    run("ip", "netns", "add", name)
    run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
    run("ip", "link", "set", name, "master", BRIDGE, "up")
    prefix_length = ipaddress.ip_network(NODE_NETWORK).prefixlen
    run(*inside, "link", "set", "lo", "up")
    run(*inside, "address", "add", f"{node_address(number)}/{prefix_length}", "dev", "eth0")
    run(*inside, "link", "set", "eth0", "up")
    run(*inside, "route", "add", "default", "via", HOST_ADDRESS)
    for other in range(1, MAX_NODES + 1):
        if other != number:
            run(*inside, "route", "add", node_pod_network(other), "via", node_address(other))
    run("ip", "route", "add", node_pod_network(number), "via", node_address(number))
