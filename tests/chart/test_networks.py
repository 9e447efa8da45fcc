"""Who reaches whom by the rendered NetworkPolicies, in a namespace that is closed to all that no policy opens."""

import functools
import json
from collections.abc import Mapping
from typing import Any

import pytest

from testing.chart import RELEASE, Raw, find, pod_templates, render
from testing.installations import INSTALLATIONS, load_installation
from testing.network_policies import Place, Pod, Policies
from voice_operator.pools.pod_template import PodBasis, build_agent_pod
from voicesession.models import AgentPool

CLOSED: Raw = {"kind": "NetworkPolicy", "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}}
# But for somebody else's pod in it, which may try whatever it likes.
NEIGHBOUR = {"app": "shop"}
FREE: Raw = {
    "kind": "NetworkPolicy",
    "spec": {"podSelector": {"matchLabels": NEIGHBOUR}, "policyTypes": ["Egress"], "egress": [{}]},
}

# Places outside of the release; an agent of the pool `default` has a cloud key, one of `local` has none.
KEY = {"openai": {"apiKeySecret": "openai"}}
ELSEWHERE: dict[str, Place] = {
    "node": "10.245.0.11",
    "node v6": "fd00:10::11",
    "carrier node": "100.64.3.4",
    "public node": "198.51.100.4",
    "cluster's DNS": Pod({"k8s-app": "kube-dns"}, "kube-system"),
    "OpenShift's DNS": Pod({"dns.operator.openshift.io/daemonset-dns": "default"}, "openshift-dns"),
    "node's DNS": "169.254.20.10",
    "API server": "10.0.0.1",
    "API server's Service": "10.96.0.1",
    "public API server": "203.0.113.80",
    "metadata": "169.254.169.254",
    "metadata v6": "fd00:ec2::254",
    "metadata of Alibaba": "100.100.100.200",
    "platform of Azure": "168.63.129.16",
    "link-local v6": "fe80::1",
    "home": "192.168.1.20",
    "company": "172.20.1.2",
    "vendor": "203.0.113.9",
    "vendor v6": "2606:4700::1111",
    "database": "10.20.0.5",
    "customer": "198.51.100.7",
    "neighbour": Pod(NEIGHBOUR),
    "Prometheus": Pod({"app": "prometheus"}, "monitoring"),
    "vLLM": Pod({"app": "vllm"}, "models"),
}


class Networks:
    """The release with some values, and everybody it may have to do with."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.objects = render(values)
        self._policies = Policies([CLOSED, FREE, *self.objects])
        self.places = {**ELSEWHERE, **read_parts(self.objects), **read_agents(self.objects)}

    def allow(self, source: str, target: str, port: int, protocol: str = "TCP") -> bool:
        return self._policies.allow(self.places[source], self.places[target], port, protocol)


def read_parts(objects: list[Raw]) -> dict[str, Place]:
    """Returns the chart's pods but LiveKit's, which has its node's address."""
    return {
        name.removeprefix(f"{RELEASE}-voice-agent-"): Pod(template["metadata"]["labels"])
        for name, template in pod_templates(objects)
        if not template["spec"].get("hostNetwork")
    }


def read_agents(objects: list[Raw]) -> dict[str, Place]:
    """Returns one pod of each pool, as the operator makes it."""
    pools = [AgentPool.model_validate(item) for item in objects if item["kind"] == "AgentPool"]
    pods = {pool.metadata.name: build_agent_pod(pool, PodBasis("key"), "") for pool in pools}
    return {f"agent {name}": Pod(pod["metadata"]["labels"]) for name, pod in pods.items()}


@functools.cache
def networks_with(values: str) -> Networks:
    return Networks(json.loads(values))


@pytest.fixture(scope="module")
def networks() -> Networks:
    return Networks(KEY)


AGENTS = ("agent default", "agent local")
NEEDED = [
    *(("operator", agent, 8081, "TCP") for agent in AGENTS),
    *((agent, "pgbouncer", 6432, "TCP") for agent in AGENTS),
    *((part, "pgbouncer", 6433, "TCP") for part in ("operator", "token-service")),
    *((part, "node", 7880, "TCP") for part in ("operator", "token-service", *AGENTS)),
    *((agent, node, 7881, "TCP") for agent in AGENTS for node in ("node", "node v6", "carrier node")),
    *((agent, node, 7882, "UDP") for agent in AGENTS for node in ("node", "node v6", "carrier node")),
    *((agent, "local-models", 8000, "TCP") for agent in AGENTS),
    *((part, "API server", 6443, "TCP") for part in ("operator", "token-service")),
    *((part, "public API server", 443, "TCP") for part in ("operator", "token-service")),
    *((part, "postgres", 5432, "TCP") for part in ("pgbouncer", "migrations")),
    *(
        (part, server, 53, protocol)
        for part in ("operator", "token-service", "pgbouncer", "migrations", *AGENTS)
        for server in ("cluster's DNS", "node's DNS")
        for protocol in ("UDP", "TCP")
    ),
    # LiveKit's webhook comes from its node, and so may customers.
    *((source, "token-service", 3000, "TCP") for source in ("node", "customer", "neighbour", "vLLM")),
    *(("Prometheus", part, port, "TCP") for part, port in {"operator": 8080, "token-service": 3001}.items()),
    ("Prometheus", "local-models", 8000, "TCP"),
    # `helm test`: a customer.
    ("test", "token-service", 3000, "TCP"),
    ("test", "cluster's DNS", 53, "UDP"),
    *(("test", "node", port, protocol) for port, protocol in ((7880, "TCP"), (7882, "UDP"))),
    ("test", "vendor", 443, "TCP"),
    # A vendor's model, a tool server, media over TURN.
    *(("agent default", vendor, 443, "TCP") for vendor in ("vendor", "vendor v6")),
    ("agent default", "vendor", 50000, "UDP"),
]


@pytest.mark.parametrize(("source", "target", "port", "protocol"), NEEDED)
def test_what_has_to_be_reached_is(networks: Networks, source: str, target: str, port: int, protocol: str) -> None:
    assert networks.allow(source, target, port, protocol)


NEAR = ("metadata", "metadata v6", "metadata of Alibaba", "platform of Azure", "link-local v6", "home", "company")
FORBIDDEN = [
    *((agent, near, port) for agent in AGENTS for near in NEAR for port in (53, 80, 443)),
    *((agent, server, 443) for agent in AGENTS for server in ("API server", "API server's Service")),
    *((agent, "API server", 6443) for agent in AGENTS),
    *((agent, "node's DNS", 80) for agent in AGENTS),
    # The kubelet, and other programs of a node.
    *((agent, "node", port) for agent in AGENTS for port in (22, 6443, 10250)),
    *(("agent local", vendor, 443) for vendor in ("vendor", "vendor v6", "public API server")),
    *((agent, other, 8081) for agent in AGENTS for other in AGENTS),
    *((agent, part, port) for agent in AGENTS for part, port in {"postgres": 5432, "operator": 8080}.items()),
    *((agent, part, 3000) for agent in AGENTS for part in ("token-service", "neighbour")),
    *((agent, "vLLM", 8000) for agent in AGENTS),
    *((agent, "pgbouncer", 6433) for agent in AGENTS),
    *((source, "pgbouncer", 6432) for source in ("neighbour", "Prometheus", "customer", "migrations", "local-models")),
    *((source, "postgres", 5432) for source in ("neighbour", "operator", "token-service", "customer")),
    *((source, "agent default", 8081) for source in ("neighbour", "token-service", "Prometheus", "customer")),
    *(
        ("customer", part, port)
        for part, port in {"operator": 8080, "token-service": 3001, "local-models": 8000}.items()
    ),
    *((part, "vendor", 443) for part in ("pgbouncer", "migrations", "postgres", "local-models")),
    *((part, "metadata", 80) for part in ("operator", "token-service", "pgbouncer", "local-models", "test")),
    *(("test", part, port) for part, port in {"pgbouncer": 6432, "operator": 8080, "agent default": 8081}.items()),
]


@pytest.mark.parametrize(("source", "target", "port"), FORBIDDEN)
def test_what_nobody_needs_is_closed(networks: Networks, source: str, target: str, port: int) -> None:
    assert not networks.allow(source, target, port)


def policies(**values: Any) -> dict[str, Any]:
    return {**KEY, "networkPolicies": values}


def livekit(url: str, **values: Any) -> dict[str, Any]:
    external = {"enabled": False, "external": {"url": url, "secret": "livekit"}}
    return {**KEY, "livekit": external, "networkPolicies": values}


def issuer(url: str, keys: str = "") -> dict[str, Any]:
    oidc = {"issuer": url, "audience": "voice", "jwksUrl": keys}
    return {"tokenService": {"auth": {"mode": "oidc", "oidc": oidc}}, "networkPolicies": {"apiServerPorts": [6443]}}


MODELS = [{"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "models"}}}]}]
PROXY = [{"ports": [{"port": 3128, "protocol": "TCP"}]}]
POSTGRES = {"host": "10.20.0.5", "port": 5433, "user": "voice", "passwordSecret": "db"}
BY_VALUE: list[tuple[dict[str, Any], str, str, int, bool]] = [
    # What is empty closes.
    (policies(livekitCidrs=[]), "agent default", "node", 7880, False),
    (policies(livekitCidrs=[]), "agent local", "node", 7880, False),
    (policies(agentCidrs=[]), "agent default", "vendor", 443, False),
    (policies(agentCidrs=[]), "agent default", "node", 7880, True),
    (policies(dns=[], dnsCidrs=[]), "agent default", "cluster's DNS", 53, False),
    (policies(dns=[], dnsCidrs=[]), "operator", "node's DNS", 53, False),
    (policies(apiServerPorts=[]), "operator", "API server", 6443, False),
    (policies(metricsFrom=[]), "Prometheus", "operator", 8080, False),
    (policies(metricsFrom=[]), "agent local", "local-models", 8000, True),
    ({"pgbouncer": {"metrics": {"enabled": True}}}, "Prometheus", "pgbouncer", 9127, True),
    ({}, "Prometheus", "pgbouncer", 9127, False),
    # DNS elsewhere.
    (policies(dns=["openshift"]), "agent local", "OpenShift's DNS", 5353, True),
    (policies(dns=["openshift"]), "agent local", "cluster's DNS", 53, False),
    (policies(dnsCidrs=["10.96.0.1/32"]), "agent local", "API server's Service", 53, True),
    (policies(dns=["any"]), "agent local", "home", 53, True),
    (policies(dns=["any"]), "agent local", "home", 443, False),
    # Networks, one by one.
    (policies(livekitCidrs=["198.51.100.0/24"]), "agent local", "public node", 7881, True),
    (policies(livekitCidrs=["198.51.100.0/24"]), "agent local", "node", 7881, False),
    (policies(agentCidrs=["192.168.1.0/24"]), "agent default", "home", 443, True),
    (policies(agentCidrs=["192.168.1.0/24"]), "agent default", "vendor", 443, False),
    (policies(agentCidrs=["192.168.1.0/24"]), "agent local", "home", 443, False),
    (policies(closedCidrs=["203.0.113.80/32"]), "agent default", "public API server", 443, False),
    (policies(closedCidrs=["203.0.113.80/32"]), "agent default", "home", 443, True),
    (policies(closedCidrs=[]), "agent default", "vendor v6", 443, True),
    # A collector of spans in the cluster, whose port its address says.
    *(
        ({**KEY, "tracing": {"endpoint": "http://vllm.models:4318"}}, part, "vLLM", port, port == 4318)
        for part in ("operator", "token-service", *AGENTS)
        for port in (4318, 8000)
    ),
    # Rules of one's own, each for its pods.
    (policies(agentEgress=MODELS), "agent default", "vLLM", 8000, True),
    (policies(agentEgress=MODELS), "agent local", "vLLM", 8000, False),
    (policies(localEgress=MODELS), "agent local", "vLLM", 8000, True),
    (policies(localEgress=MODELS), "agent default", "vLLM", 8000, False),
    *(
        (policies(partsEgress=PROXY), part, "company", 3128, True)
        for part in ("operator", "token-service", "migrations")
    ),
    *((policies(partsEgress=PROXY), part, "company", 3128, True) for part in ("pgbouncer", "postgres", "local-models")),
    (policies(partsEgress=PROXY), "agent default", "company", 3128, False),
    (policies(apiServerPorts=[16443]), "operator", "API server", 16443, True),
    (policies(metricsFrom=[{"podSelector": {}}]), "Prometheus", "operator", 8080, False),
    (policies(metricsFrom=[{"podSelector": {}}]), "neighbour", "operator", 8080, True),
    # A LiveKit near, whose pods listen at another port than its Service; and one on the internet.
    (livekit("ws://livekit-server.livekit.svc:80"), "agent local", "node", 7880, True),
    (livekit("ws://livekit-server.livekit.svc:80"), "operator", "node", 7880, True),
    (livekit("wss://lk.example.com", livekitCidrs=["10.245.0.0/16"]), "agent local", "node", 443, True),
    (livekit("wss://lk.example.com", livekitCidrs=["10.245.0.0/16"]), "agent local", "API server", 443, False),
    ({**livekit("wss://lk.example.com"), "localModels": {"enabled": False}}, "agent default", "vendor", 443, True),
    ({**livekit("wss://lk.example.com"), "localModels": {"enabled": False}}, "agent default", "API server", 443, False),
    ({**livekit("wss://lk.example.com"), "localModels": {"enabled": False}}, "operator", "vendor", 443, True),
    # An issuer of tokens, whose keys may be elsewhere.
    (issuer("https://login.example.com/realms/acme"), "token-service", "company", 443, True),
    (issuer("https://login.example.com:8443"), "token-service", "company", 8443, True),
    (issuer("https://login.example.com", "http://keys:9080/jwks"), "token-service", "company", 9080, True),
    (issuer("https://login.example.com:8443"), "operator", "company", 8443, False),
    # A Postgres elsewhere.
    ({"postgres": {"enabled": False, "external": POSTGRES}}, "pgbouncer", "database", 5433, True),
    ({"postgres": {"enabled": False, "external": POSTGRES}}, "migrations", "database", 5433, True),
    ({"postgres": {"enabled": False, "external": POSTGRES}}, "agent default", "database", 5433, False),
    # Local models that others use too.
    ({"localModels": {"service": {"type": "NodePort"}}}, "customer", "local-models", 8000, True),
]


@pytest.mark.parametrize(("values", "source", "target", "port", "allowed"), BY_VALUE)
def test_a_value_opens_or_closes(values: dict[str, Any], source: str, target: str, port: int, allowed: bool) -> None:
    assert networks_with(json.dumps(values)).allow(source, target, port) is allowed


@pytest.mark.parametrize("name", [path.stem for path in INSTALLATIONS])
def test_in_each_installation_calls_can_be_made(name: str) -> None:
    values = load_installation(name)
    networks = Networks(values)
    agent = networks.places["agent default"]
    assert isinstance(agent, Pod)
    is_local = "voiceagents.dev/egress" in agent.labels
    has_livekit = values.get("livekit", {}).get("enabled", True)
    seen = 0
    for source, target, port, protocol in NEEDED:
        is_there = {source, target} <= networks.places.keys()
        is_elsewhere = not has_livekit and port in {7880, 7881, 7882}
        if is_there and not is_elsewhere and not (is_local and "vendor" in target):
            assert networks.allow(source, target, port, protocol), (source, target, port, protocol)
            seen += 1
    assert seen > 20
    if external := values.get("postgres", {}).get("external"):
        assert networks.allow("pgbouncer", "database", external.get("port", 5432))


def test_under_cilium_nodes_are_named_in_its_own_words() -> None:
    assert not any(item["kind"] == "CiliumNetworkPolicy" for item in render())
    spec = find(render(policies(cilium=True)), "CiliumNetworkPolicy", "agent-egress-nodes")["spec"]
    assert spec["endpointSelector"] == {"matchExpressions": [{"key": "voiceagents.dev/pool", "operator": "Exists"}]}
    (rule,) = spec["egress"]
    assert rule["toEntities"] == ["host", "remote-node"]
    assert [(each["port"], each["protocol"]) for each in rule["toPorts"][0]["ports"]] == [
        ("7880", "TCP"),
        ("7881", "TCP"),
        ("7882", "UDP"),
    ]


def test_every_pod_of_the_chart_has_its_policy() -> None:
    objects = render()
    selected = [item["spec"]["podSelector"] for item in objects if item["kind"] == "NetworkPolicy"]
    for name, template in pod_templates(objects):
        labels = template["metadata"]["labels"].items()
        chosen = [each for each in selected if each.get("matchLabels") and each["matchLabels"].items() <= labels]
        assert bool(chosen) is not template["spec"].get("hostNetwork", False), name
