"""The chart installed into a real API server (which runs no pods): what it stores, keeps and permits."""

import base64
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from local_cluster.binaries import KUBERNETES
from testing.chart import CHART, NAMESPACE, RELEASE, HelmError, run_helm


@dataclass(frozen=True)
class Installation:
    """The release in the API server."""

    kubeconfig: Path

    def kubectl(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        command = [str(KUBERNETES.path("kubectl")), "--kubeconfig", str(self.kubeconfig), "-n", NAMESPACE, *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)

    def get(self, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", *arguments, "-o", "json").stdout)

    def upgrade(self, release: str = RELEASE, **values: Any) -> None:
        """Installs or upgrades; without the migrations, which would need pods to run."""
        run_helm(
            *(
                "upgrade",
                "--install",
                release,
                str(CHART),
                "--namespace",
                NAMESPACE,
                "--create-namespace",
                "--no-hooks",
                "--reset-values",
            ),
            values=values,
            kubeconfig=self.kubeconfig,
        )

    def secrets(self) -> dict[str, dict[str, str]]:
        return {
            item["metadata"]["name"]: {key: base64.b64decode(value).decode() for key, value in item["data"].items()}
            for item in self.get("secrets", "-l", f"app.kubernetes.io/instance={RELEASE}")["items"]
        }

    def may(self, account: str, verb: str, resource: str, namespace: str = NAMESPACE) -> bool:
        user = f"--as=system:serviceaccount:{NAMESPACE}:{account}"
        name, _, part = resource.partition("/")
        question = ("auth", "can-i", verb, name, f"--subresource={part}", user, "-n", namespace)
        return self.kubectl(*question).stdout.strip() == "yes"

    def add_node(self, name: str, address: str, hostname: str = "") -> None:
        """Adds a node that takes pods. `hostname`: what its label says, where that is not its name."""
        labels = {"kubernetes.io/hostname": hostname or name}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
        self.kubectl("create", "-f", "-", stdin=json.dumps(node))
        status = {"status": {"addresses": [{"type": "InternalIP", "address": address}]}}
        self.kubectl("patch", "node", name, "--subresource=status", "--type=merge", "-p", json.dumps(status))
        self.kubectl("taint", "node", name, "node.kubernetes.io/not-ready:NoSchedule-")

    def livekit_place(self) -> tuple[dict[str, str], str]:
        """Returns the labels of the node that LiveKit is bound to, and the address that browsers are told."""
        livekit = self.get("deployment", f"{RELEASE}-voice-agent-livekit")["spec"]["template"]["spec"]
        service = self.get("deployment", f"{RELEASE}-voice-agent-token-service")["spec"]["template"]["spec"]
        variables = {item["name"]: item.get("value") for item in service["containers"][0]["env"]}
        return livekit["nodeSelector"], variables["LIVEKIT_PUBLIC_URL"]


@pytest.fixture(scope="module")
def installation(api_server: Path) -> Iterator[Installation]:
    installed = Installation(api_server)
    installed.add_node("node-m", "10.245.0.11")
    installed.upgrade()
    yield installed
    run_helm("uninstall", RELEASE, "--namespace", NAMESPACE, "--no-hooks", kubeconfig=api_server)
    installed.kubectl("delete", "node", "node-m")


def test_pools_and_profiles_are_accepted(installation: Installation) -> None:
    installation.upgrade(openai={"apiKeySecret": "openai"})
    pools = {item["metadata"]["name"]: item["spec"] for item in installation.get("agentpools")["items"]}
    assert [provider["name"] for provider in pools["default"]["providers"]] == ["openai", "local"]
    assert [provider["name"] for provider in pools["local"]["providers"]] == ["local"]
    (profile,) = installation.get("agentprofiles")["items"]
    assert profile["spec"]["localPool"] == "local"
    installation.upgrade()
    assert [item["metadata"]["name"] for item in installation.get("agentpools")["items"]] == ["default"]


def test_secrets_stay_over_upgrades(installation: Installation) -> None:
    before = installation.secrets()
    assert len(before) == 5
    installation.upgrade(tokenService={"replicas": 2})
    assert installation.secrets() == before


def test_a_password_that_was_deleted_is_made_anew_everywhere(installation: Installation) -> None:
    before = installation.secrets()
    name = f"{RELEASE}-voice-agent-database-roles"
    patch = json.dumps([{"op": "remove", "path": "/data/agent-password"}])
    assert installation.kubectl("patch", "secret", name, "--type=json", "-p", patch).returncode == 0
    installation.upgrade()
    after = installation.secrets()
    old, new = before[name]["agent-password"], after[name]["agent-password"]
    assert old != new
    assert f'"voice_agent" "{new}"' in after[name]["userlist.txt"]
    assert f":{new}@" in after[f"{RELEASE}-voice-agent-agent-database"]["url"]
    assert after[name]["reader-url"] == before[name]["reader-url"]
    assert old not in str(after)


def test_a_release_from_before_there_was_an_installation_s_key_gets_one_and_keeps_its_others(
    installation: Installation,
) -> None:
    before = installation.secrets()
    name = f"{RELEASE}-voice-agent-keys"
    patch = json.dumps([{"op": "remove", "path": "/data/installation-key"}])
    assert installation.kubectl("patch", "secret", name, "--type=json", "-p", patch).returncode == 0
    installation.upgrade()
    made = installation.secrets()
    assert made[name].pop("installation-key") != before[name].pop("installation-key")
    assert made == before


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


def test_livekit_is_bound_to_the_node_that_browsers_are_told(installation: Installation) -> None:
    installation.upgrade()
    assert installation.livekit_place() == ({"kubernetes.io/hostname": "node-m"}, "ws://10.245.0.11:7880")


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
    installation.upgrade(livekit={"publicUrl": "ws://livekit.example.com"})
    installation.kubectl("cordon", "node-m")
    try:
        with pytest.raises(HelmError, match="every node is cordoned or tainted, so say which one LiveKit is to run on"):
            installation.upgrade()
    finally:
        installation.kubectl("uncordon", "node-m")
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
