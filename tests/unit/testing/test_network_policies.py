"""The rules of NetworkPolicies, as Kubernetes has them."""

from typing import Any

import pytest

from testing.network_policies import Place, Pod, Policies

A, B, FAR = Pod({"app": "a"}), Pod({"app": "b"}), Pod({"app": "b"}, "elsewhere")
TO_B = {"podSelector": {"matchLabels": {"app": "b"}}}
NOT_B = {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["b"]}]}
NET = {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}


def egress(*rules: Any, selector: Any = None) -> dict[str, Any]:
    spec = {"podSelector": selector or {}, "policyTypes": ["Egress"], "egress": list(rules)}
    return {"kind": "NetworkPolicy", "spec": spec}


def ingress(*rules: Any) -> dict[str, Any]:
    return {"kind": "NetworkPolicy", "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": list(rules)}}


@pytest.mark.parametrize(
    ("objects", "target", "port", "allowed"),
    [
        ([], B, 1, True),
        ([{"kind": "Service"}], B, 1, True),
        ([egress()], B, 1, False),
        ([egress({})], B, 1, True),
        ([egress(), egress({})], B, 1, True),
        ([egress({"to": []})], B, 1, True),  # Kubernetes' own trap
        ([egress(selector=NOT_B)], B, 1, False),
        ([egress(selector={"matchLabels": {"app": "b"}})], B, 1, True),
        ([egress({"to": [TO_B]})], B, 1, True),
        ([egress({"to": [TO_B]})], FAR, 1, False),
        ([egress({"to": [{"namespaceSelector": {}}]})], FAR, 1, True),
        ([egress({"to": [{"namespaceSelector": {}, **TO_B}]})], FAR, 1, True),
        ([egress({"to": [TO_B]})], A, 1, False),
        ([egress({"to": [NET]})], "10.2.0.1", 1, True),
        ([egress({"to": [NET]})], "10.1.0.1", 1, False),
        ([egress({"to": [NET]})], "fd00::1", 1, False),
        ([egress({"to": [NET]})], B, 1, False),
        ([egress({"ports": [{"port": 5, "endPort": 7}]})], B, 7, True),
        ([egress({"ports": [{"port": 5, "endPort": 7}]})], B, 8, False),
        ([egress({"ports": [{"port": 5, "protocol": "UDP"}]})], B, 5, False),
        ([ingress()], B, 1, False),
        ([ingress({"from": [{"podSelector": {"matchLabels": {"app": "a"}}}]})], B, 1, True),
        ([ingress({"from": [TO_B]})], B, 1, False),
        ([ingress()], "10.2.0.1", 1, True),
        ([ingress()], FAR, 1, True),
    ],
)
def test_a_connection_from_one_pod(objects: list[dict[str, Any]], target: Place, port: int, allowed: bool) -> None:
    assert Policies(objects).allow(A, target, port) is allowed
