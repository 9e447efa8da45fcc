"""What NetworkPolicies allow, by Kubernetes' rules: whether a pod may reach another one, or an address, at a port."""

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from testing.chart import NAMESPACE, Raw

NAMESPACE_LABEL = "kubernetes.io/metadata.name"


@dataclass(frozen=True)
class Pod:
    """A pod, as policies see it."""

    labels: Mapping[str, str]
    namespace: str = NAMESPACE


# An IP address is one of no pod: of a node, of another network.
Place = Pod | str


class Policies:
    """The policies of the release's namespace; whoever is elsewhere is bound by none."""

    def __init__(self, objects: Iterable[Raw]) -> None:
        """`objects`: those of other kinds do not matter."""
        self._specs = [item["spec"] for item in objects if item["kind"] == "NetworkPolicy"]

    def allow(self, source: Place, target: Place, port: int, protocol: str = "TCP") -> bool:
        """Tells whether `source` may send there, and `target` may be reached from there."""
        return self._permit("Egress", source, target, port, protocol) and self._permit(
            "Ingress", target, source, port, protocol
        )

    def _permit(self, direction: str, bound: Place, peer: Place, port: int, protocol: str) -> bool:
        """Tells whether the policies that bind one end of a connection, if there are any, allow the other end."""
        if isinstance(bound, str) or bound.namespace != NAMESPACE:
            return True
        binding = [
            spec
            for spec in self._specs
            if direction in spec["policyTypes"] and _is_selected(spec["podSelector"], bound.labels)
        ]
        rules = [rule for spec in binding for rule in spec.get(direction.lower()) or ()]
        return not binding or any(_covers(rule, peer, port, protocol) for rule in rules)


def _covers(rule: Raw, peer: Place, port: int, protocol: str) -> bool:
    """Tells whether a rule is for this peer and port; without peers, or without ports, it is for all of them."""
    peers, ports = rule.get("to") or rule.get("from"), rule.get("ports")
    return (not peers or any(_is_meant(each, peer) for each in peers)) and (
        not ports or any(_is_port(each, port, protocol) for each in ports)
    )


def _is_meant(described: Raw, peer: Place) -> bool:
    if isinstance(peer, str):
        return "ipBlock" in described and _is_in(described["ipBlock"], peer)
    if "ipBlock" in described:
        return False  # some networks would say yes where the pod's address is in it, Cilium never does
    namespaces = described.get("namespaceSelector")
    is_near = peer.namespace == NAMESPACE
    return (
        is_near if namespaces is None else _is_selected(namespaces, {NAMESPACE_LABEL: peer.namespace})
    ) and _is_selected(described.get("podSelector") or {}, peer.labels)


def _is_in(block: Raw, address: str) -> bool:
    known = ipaddress.ip_address(address)
    return known in ipaddress.ip_network(block["cidr"]) and not any(
        known in ipaddress.ip_network(closed) for closed in block.get("except", ())
    )


def _is_port(described: Raw, port: int, protocol: str) -> bool:
    first = described["port"]
    assert isinstance(first, int), "a port by its name"
    last = int(described.get("endPort", first))
    return bool(described.get("protocol", "TCP") == protocol) and first <= port <= last


def _is_selected(selector: Raw, labels: Mapping[str, str]) -> bool:
    wanted = selector.get("matchLabels") or {}
    expressions = selector.get("matchExpressions") or ()
    return wanted.items() <= labels.items() and all(_holds(expression, labels) for expression in expressions)


def _holds(expression: Raw, labels: Mapping[str, Any]) -> bool:
    value = labels.get(expression["key"])
    match expression["operator"]:
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "In":
            return value in expression["values"]
        case _:
            return value not in expression["values"]
