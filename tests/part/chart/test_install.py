"""The chart installed into a real API server (which runs no pods): what it stores and permits, and where LiveKit is."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from testing.chart import NAMESPACE, RELEASE, HelmError, find, render
from testing.installation import Installation


def test_pools_and_profiles_are_accepted(installation: Installation) -> None:
    installation.upgrade(openai={"apiKeySecret": "openai"})
    pools = {item["metadata"]["name"]: item["spec"] for item in installation.get("agentpools")["items"]}
    assert [provider["name"] for provider in pools["default"]["providers"]] == ["openai", "local"]
    assert [provider["name"] for provider in pools["local"]["providers"]] == ["local"]
    (profile,) = installation.get("agentprofiles")["items"]
    assert profile["spec"]["localPool"] == "local"
    installation.upgrade()
    assert [item["metadata"]["name"] for item in installation.get("agentpools")["items"]] == ["default"]


# Of these Argo CD compares lists whole; of Kubernetes' own pods it knows the defaults.
COMPARED_WHOLE = {
    "AgentPool",
    "AgentProfile",
    "HorizontalPodAutoscaler",
    "Ingress",
    "NetworkPolicy",
    "Role",
    "RoleBinding",
    "Service",
}


def lists_of(node: Any, path: str = "") -> Iterator[tuple[str, list[Any]]]:
    """Yields every list in an object that is in no other list, with where it is."""
    if isinstance(node, list):
        yield path, node
    elif isinstance(node, dict):
        for key, value in node.items():
            yield from lists_of(value, f"{path}.{key}")


def test_lists_are_stored_as_they_are_rendered_so_that_nothing_is_out_of_sync(installation: Installation) -> None:
    cloud = {"name": "cloud", "llm": {"model": "m", "timeouts": {"readSeconds": 9}}, "stt": {"model": "m"}}
    cloud |= {
        "tts": {"model": "m", "headers": [{"name": "X-Key", "secretRef": {"name": "s"}}]},
        "secretRef": {"name": "s"},
    }
    realtime = {"name": "live", "realtime": {"model": "m"}, "secretRef": {"name": "s", "key": "token"}}
    reached = {"auth": {"mode": "api-key", "apiKeysSecret": "keys"}, "autoscaling": {"enabled": True}}
    reached |= {"ingress": {"enabled": True, "hosts": ["voice.example.com"]}, "service": {"type": "LoadBalancer"}}
    seen = set()
    for values in (
        {"openai": {"apiKeySecret": "openai"}},
        {"defaultPool": {"providers": [cloud, realtime]}, "tokenService": reached},
    ):
        installation.upgrade(**values)
        for rendered in installation.objects():
            kind, name = rendered["kind"], rendered["metadata"]["name"]
            if kind in COMPARED_WHOLE:
                seen.add(kind)
                stored = dict(lists_of(installation.get(kind, name)))
                for path, wanted in lists_of(rendered):
                    if not (kind == "Service" and values.get("tokenService")):  # a LoadBalancer is given node ports
                        assert stored[path] == wanted, (kind, name, path)
    assert seen == COMPARED_WHOLE
    installation.upgrade()


def test_what_a_running_postgres_cannot_be_given_is_said_with_what_to_do(installation: Installation) -> None:
    postgres = f"{RELEASE}-voice-agent-postgres"
    installation.upgrade()
    with pytest.raises(
        HelmError, match=r"postgres\.storage\.size: Postgres runs with no volume, .* delete statefulset"
    ):
        installation.upgrade(postgres={"storage": {"size": "10Gi"}})
    installation.kubectl("delete", "statefulset", postgres)
    installation.upgrade(postgres={"storage": {"size": "10Gi"}})
    installation.upgrade(postgres={"storage": {"size": "10240Mi"}})
    with pytest.raises(HelmError, match=rf"Postgres runs with 10Gi, .* edit pvc data-{postgres}-0"):
        installation.upgrade(postgres={"storage": {"size": "20Gi"}})
    installation.kubectl("delete", "statefulset", postgres)
    installation.upgrade()


def test_another_name_for_a_database_that_is_made_is_refused(installation: Installation) -> None:
    installation.upgrade()
    with pytest.raises(HelmError, match=r"database\.name: Postgres has the database voice, .* delete statefulset"):
        installation.upgrade(database={"name": "talk"})


@pytest.mark.parametrize("level", ["baseline", "restricted"])
def test_a_namespace_that_refuses_the_charts_livekit_is_told_of(installation: Installation, level: str) -> None:
    label = "pod-security.kubernetes.io/enforce"
    installation.kubectl("label", "namespace", NAMESPACE, f"{label}={level}")
    try:
        with pytest.raises(
            HelmError, match=f"livekit.enabled=true: .* Pod Security level {level} of namespace {NAMESPACE}"
        ):
            installation.upgrade()
        installation.upgrade(
            livekit={"enabled": False, "external": {"url": "ws://livekit.livekit.svc", "secret": "lk"}}
        )
    finally:
        installation.kubectl("label", "namespace", NAMESPACE, f"{label}-")
    installation.upgrade()


def test_a_scaled_pool_stays_scaled_over_upgrades(installation: Installation) -> None:
    scaled = installation.kubectl("scale", "apool/default", "--replicas=5")
    assert scaled.returncode == 0, scaled.stderr
    installation.upgrade(tokenService={"replicas": 2})
    assert installation.get("agentpool", "default")["spec"]["warm"]["min"] == 5


@pytest.mark.parametrize(("minimum", "conflict"), [(2, ".spec.warm.min"), (None, "")])
def test_gitops_and_who_scales_a_pool_leave_each_other_alone_where_the_chart_says_no_minimum(
    installation: Installation, minimum: int | None, conflict: str
) -> None:
    """Applied as Flux and Helm 4 do it, and Argo CD where it is told to."""
    pool = find(render({"defaultPool": {"warm": {"min": minimum, "max": 20}}}), "AgentPool", "default")
    pool["metadata"]["name"] = "by-git"
    apply = ("apply", "--server-side", "--field-manager=gitops", "-f", "-")
    try:
        assert installation.kubectl(*apply, stdin=json.dumps(pool)).returncode == 0
        assert installation.kubectl("scale", "agentpool/by-git", "--replicas=5").returncode == 0
        again = installation.kubectl(*apply, stdin=json.dumps(pool))
        assert (again.returncode, conflict in again.stderr) == (1 if conflict else 0, True)
        assert installation.get("agentpool", "by-git")["spec"]["warm"]["min"] == 5
    finally:
        installation.kubectl("delete", "agentpool", "by-git")


def test_livekit_is_bound_to_the_node_that_browsers_are_told(installation: Installation) -> None:
    installation.upgrade()
    assert installation.livekit_place() == ({"kubernetes.io/hostname": "node-m"}, "ws://10.245.0.11:7880")
    # Where agents may go, whatever network it is in.
    for policy in ("local-egress", "agent-egress"):
        rules = installation.get("networkpolicy", f"{RELEASE}-voice-agent-{policy}")["spec"]["egress"]
        assert {"ipBlock": {"cidr": "10.245.0.11/32"}} in [peer for rule in rules for peer in rule["to"]]


def test_a_livekit_from_before_there_were_ipv6_addresses_is_not_restarted(installation: Installation) -> None:
    installation.upgrade()
    name = f"{RELEASE}-voice-agent-livekit"
    container = "/spec/template/spec/containers/0"
    arguments = ["--bind", "0.0.0.0", "--node-ip", "$(NODE_IP)"]  # noqa: S104 - as it was
    before = [
        {"op": "replace", "path": f"{container}/args", "value": arguments},
        {"op": "replace", "path": f"{container}/env/0/valueFrom/fieldRef/fieldPath", "value": "status.hostIP"},
    ]
    assert installation.kubectl("patch", "deployment", name, "--type=json", "-p", json.dumps(before)).returncode == 0
    generation = installation.get("deployment", name)["metadata"]["generation"]
    installation.upgrade(tokenService={"replicas": 2})
    assert installation.get("deployment", name)["metadata"]["generation"] == generation
    installation.kubectl("delete", "deployment", name)
    installation.upgrade()
    assert "--bind" not in installation.get("deployment", name)["spec"]["template"]["spec"]["containers"][0]["args"]


@pytest.mark.parametrize("change", ["an added node", "a cordoned node", "a tainted node", "no free node"])
def test_an_unrelated_upgrade_does_not_move_livekit(installation: Installation, change: str) -> None:
    installation.upgrade()
    name = f"{RELEASE}-voice-agent-livekit"
    before = installation.get("deployment", name)["metadata"]["generation"]
    if change != "no free node":
        installation.add_node("node-a", "10.245.0.12")
    try:
        if change == "a tainted node":
            installation.kubectl("taint", "node", "node-m", "dedicated=x:NoSchedule")
        elif change != "an added node":
            installation.kubectl("cordon", "node-m")
        installation.upgrade(tokenService={"replicas": 2}, logLevel="DEBUG")
    finally:
        installation.kubectl("uncordon", "node-m")
        installation.kubectl("taint", "node", "node-m", "dedicated-")
        installation.kubectl("delete", "node", "node-a")
    assert installation.livekit_place() == ({"kubernetes.io/hostname": "node-m"}, "ws://10.245.0.11:7880")
    assert installation.get("deployment", name)["metadata"]["generation"] == before


def test_livekit_finds_another_node_when_its_own_is_gone(installation: Installation) -> None:
    installation.upgrade()
    installation.add_node("node-v6", "fd00::9", hostname="host-v6")
    installation.kubectl("delete", "node", "node-m")
    try:
        installation.upgrade()
        assert installation.livekit_place() == ({"kubernetes.io/hostname": "host-v6"}, "ws://[fd00::9]:7880")
    finally:
        installation.add_node("node-m", "10.245.0.11")
        installation.kubectl("delete", "node", "node-v6")
    installation.upgrade()


def test_an_install_where_no_node_takes_pods_says_which_values_it_wants(installation: Installation) -> None:
    installation.upgrade(livekit={"publicUrl": "ws://livekit.example.com", "nodeSelector": {"disk": "fast"}})
    installation.kubectl("taint", "node", "node-m", "dedicated=voice:NoSchedule")
    toleration = {"key": "dedicated", "operator": "Equal", "value": "voice", "effect": "NoSchedule"}
    try:
        for pods in ({}, {"tolerations": [{**toleration, "value": "batch"}]}):
            with pytest.raises(HelmError, match=r"no node takes LiveKit.*say which one it is to run on, and at which"):
                installation.upgrade(pods=pods)
        installation.upgrade(pods={"tolerations": [toleration]})
        assert installation.livekit_place()[0] == {"kubernetes.io/hostname": "node-m"}
    finally:
        installation.kubectl("taint", "node", "node-m", "dedicated-")
    installation.upgrade()


def test_the_notes_say_which_parts_are_for_trying_out(installation: Installation) -> None:
    installation.upgrade()
    trying = [line for line in installation.notes().splitlines() if "for trying out" in line]
    assert [line.split()[3] for line in trying] == ["LiveKit", "Postgres"]
    external = {"host": "db", "user": "owner", "passwordSecret": "db"}
    installation.upgrade(
        livekit={"enabled": False, "external": {"url": "ws://livekit.livekit.svc", "secret": "lk"}},
        postgres={"enabled": False, "external": external},
    )
    assert "for trying out" not in installation.notes()
    installation.upgrade()


def test_a_second_release_is_refused_in_words(installation: Installation) -> None:
    installation.upgrade()
    apart = {"create": False}
    with pytest.raises(HelmError) as refused:
        installation.upgrade("second", defaultPool=apart, defaultProfile=apart)
    assert f"release {RELEASE} is in namespace {NAMESPACE} already, and a namespace has one release" in str(
        refused.value
    )
    assert installation.get("deployments", "-l", "app.kubernetes.io/instance=second")["items"] == []


OPERATOR = f"{RELEASE}-voice-agent-operator"
TOKEN_SERVICE = f"{RELEASE}-voice-agent-token-service"


@pytest.mark.parametrize(
    ("account", "verb", "resource", "allowed"),
    [
        (OPERATOR, "create", "pods", True),
        (OPERATOR, "patch", "voicesessions.voiceagents.dev/status", True),
        (OPERATOR, "patch", "voicesessions.voiceagents.dev", False),
        (OPERATOR, "get", "secrets", False),
        (OPERATOR, "create", "pods/exec", False),
        (OPERATOR, "get", "pods/log", False),
        (OPERATOR, "list", "nodes", False),
        (OPERATOR, "update", "leases.coordination.k8s.io", True),
        (OPERATOR, "delete", "leases.coordination.k8s.io", False),
        (TOKEN_SERVICE, "create", "voicesessions.voiceagents.dev", True),
        (TOKEN_SERVICE, "watch", "agentprofiles.voiceagents.dev", True),
        (TOKEN_SERVICE, "delete", "voicesessions.voiceagents.dev", False),
        (TOKEN_SERVICE, "patch", "voicesessions.voiceagents.dev/status", False),
        (TOKEN_SERVICE, "create", "agentpools.voiceagents.dev", False),
        (TOKEN_SERVICE, "list", "pods", False),
        (TOKEN_SERVICE, "get", "secrets", False),
        ("default", "list", "pods", False),
        ("default", "get", "voicesessions.voiceagents.dev", False),
    ],
)
def test_rights(installation: Installation, account: str, verb: str, resource: str, allowed: bool) -> None:
    assert installation.may(account, verb, resource) is allowed
    assert installation.may(account, verb, resource, namespace="default") is False
