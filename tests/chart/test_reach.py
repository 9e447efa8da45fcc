"""How the token service is reached from outside, how many there are, and what a drain leaves of each part."""

import pytest

from testing.chart import Raw, environment_of, find, render

KEYS = {"mode": "api-key", "apiKeysSecret": "keys"}
HOSTS = ["voice.example.com", "talk.example.com"]


def test_nothing_reaches_in_unless_it_is_told_to() -> None:
    objects = render()
    assert not {item["kind"] for item in objects} & {"Ingress", "HTTPRoute", "HorizontalPodAutoscaler"}
    assert {item["spec"].get("type", "ClusterIP") for item in objects if item["kind"] == "Service"} == {"ClusterIP"}


def test_an_ingress_leads_hosts_to_the_token_service() -> None:
    ingress = {
        "enabled": True,
        "className": "nginx",
        "annotations": {"cert-manager.io/cluster-issuer": "ours"},
        "hosts": HOSTS,
        "tls": [{"secretName": "voice-tls", "hosts": HOSTS}],
    }
    objects = render({"tokenService": {"auth": KEYS, "ingress": ingress}})
    made = find(objects, "Ingress", "token-service")
    assert made["metadata"]["annotations"] == ingress["annotations"]
    assert (made["spec"]["ingressClassName"], made["spec"]["tls"]) == ("nginx", ingress["tls"])
    assert [rule["host"] for rule in made["spec"]["rules"]] == HOSTS
    service = find(objects, "Service", "token-service")
    for rule in made["spec"]["rules"]:
        (path,) = rule["http"]["paths"]
        assert (path["path"], path["pathType"]) == ("/", "Prefix")
        assert path["backend"]["service"]["name"] == service["metadata"]["name"]
        assert path["backend"]["service"]["port"]["name"] in {port["name"] for port in service["spec"]["ports"]}


def test_a_gateway_s_route_leads_hosts_to_the_token_service() -> None:
    route = {"enabled": True, "parentRefs": [{"name": "public", "namespace": "gateways"}], "hostnames": HOSTS}
    objects = render({"tokenService": {"auth": KEYS, "httpRoute": route}})
    spec = find(objects, "HTTPRoute", "token-service")["spec"]
    gateway = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "public", "namespace": "gateways"}
    assert (spec["parentRefs"], spec["hostnames"]) == ([gateway], HOSTS)
    ((backend,),) = (rule["backendRefs"] for rule in spec["rules"])
    service = find(objects, "Service", "token-service")
    assert (backend["name"], backend["port"]) == (service["metadata"]["name"], service["spec"]["ports"][0]["port"])


def test_a_load_balancer_is_what_the_values_say() -> None:
    wanted: Raw = {
        "type": "LoadBalancer",
        "loadBalancerClass": "example.com/lb",
        "loadBalancerSourceRanges": ["192.0.2.0/24"],
        "externalTrafficPolicy": "Local",
    }
    annotations = {"example.com/internal": "true"}
    objects = render({"tokenService": {"auth": KEYS, "service": {**wanted, "annotations": annotations}}})
    service = find(objects, "Service", "token-service")
    assert service["metadata"]["annotations"] == annotations
    assert {name: service["spec"].get(name) for name in wanted} == wanted


def test_services_have_the_families_of_addresses_that_are_asked_for() -> None:
    assert not any("ipFamilies" in item["spec"] for item in render() if item["kind"] == "Service")
    wanted = {"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv6", "IPv4"]}
    for service in (item for item in render({"services": wanted}) if item["kind"] == "Service"):
        assert {name: service["spec"].get(name) for name in wanted} == wanted, service["metadata"]["name"]


def test_every_part_listens_at_addresses_of_both_families() -> None:
    objects = render()
    livekit = find(objects, "Deployment", "livekit")["spec"]["template"]["spec"]["containers"][0]
    assert livekit["args"] == ["--node-ip", "$(NODE_IP)"]
    assert livekit["env"][0] == {"name": "NODE_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIPs"}}}
    assert "listen_addr = *" in find(objects, "ConfigMap", "pgbouncer")["data"]["pgbouncer.ini"]
    # Those of ours do by default.
    for part in ("operator", "token-service", "local-models"):
        assert not {"HOST", "LOCAL_MODELS_LISTEN_HOST"} & environment_of(objects, "Deployment", part).keys()


def test_token_services_are_as_many_as_their_work_wants() -> None:
    scaling = {"enabled": True, "minReplicas": 3, "maxReplicas": 9, "targetCPUUtilizationPercentage": 60}
    objects = render({"tokenService": {"autoscaling": scaling}})
    deployment = find(objects, "Deployment", "token-service")
    assert "replicas" not in deployment["spec"], "else each upgrade would undo what was scaled"
    spec = find(objects, "HorizontalPodAutoscaler", "token-service")["spec"]
    assert spec["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (3, 9)
    assert spec["metrics"][0]["resource"]["target"] == {"type": "Utilization", "averageUtilization": 60}


@pytest.mark.parametrize("part", ["operator", "token-service", "pgbouncer", "local-models"])
def test_a_drain_takes_one_of_a_part_at_a_time(part: str) -> None:
    objects = render()
    budget = find(objects, "PodDisruptionBudget", part)["spec"]
    assert budget == {"maxUnavailable": 1, "selector": find(objects, "Deployment", part)["spec"]["selector"]}


def test_a_mesh_is_told_protocols_and_leaves_the_migrations_alone() -> None:
    objects = render()
    for service in (item for item in objects if item["kind"] == "Service"):
        assert all(port["appProtocol"] and port["name"] for port in service["spec"]["ports"])
    metadata = find(objects, "Job", "migrations")["spec"]["template"]["metadata"]
    assert metadata["labels"]["sidecar.istio.io/inject"] == "false"
    assert metadata["annotations"]["linkerd.io/inject"] == "disabled"
    native = render({"migrations": {"podLabels": {"sidecar.istio.io/inject": "true"}}})
    labels = find(native, "Job", "migrations")["spec"]["template"]["metadata"]["labels"]
    assert labels["sidecar.istio.io/inject"] == "true"
