"""The Pod that a pool's agents run in, compared whole."""

import json
from typing import Any

import pytest

from testing.operator_objects import CLOUD, LOCAL, make_pool
from voice_operator.pools.pod_template import build_agent_pod, build_template, hash_template
from voicesession.models import AgentPool

KEY = "-----BEGIN PUBLIC KEY-----"


def build(pool: AgentPool, secret: str = "") -> dict[str, Any]:
    return build_agent_pod(pool, KEY, secret, "INFO")


def providers_json(*providers: dict[str, Any]) -> str:
    return json.dumps(
        [provider.to_wire() for provider in make_pool(providers=list(providers)).spec.providers], sort_keys=True
    )


def test_the_plainest_pod() -> None:
    pod = build(make_pool())
    template = pod["metadata"]["labels"].pop("voiceagents.dev/template")
    assert len(template) == 10
    assert pod == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": "default-",
            "labels": {
                "app.kubernetes.io/name": "voice-agent",
                "app.kubernetes.io/component": "agent",
                "voiceagents.dev/pool": "default",
                "voiceagents.dev/state": "warm",
            },
            "annotations": {"voiceagents.dev/attempt": "0"},
            "ownerReferences": [
                {
                    "apiVersion": "voiceagents.dev/v1alpha1",
                    "kind": "AgentPool",
                    "name": "default",
                    "uid": "uid-of-default",
                    "controller": True,
                    "blockOwnerDeletion": False,
                }
            ],
        },
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 15,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "runAsGroup": 10001,
                "fsGroup": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "tolerations": [
                {
                    "key": "node.kubernetes.io/not-ready",
                    "operator": "Exists",
                    "effect": "NoExecute",
                    "tolerationSeconds": 10,
                },
                {
                    "key": "node.kubernetes.io/unreachable",
                    "operator": "Exists",
                    "effect": "NoExecute",
                    "tolerationSeconds": 10,
                },
            ],
            "containers": [
                {
                    "name": "agent",
                    "image": "agent:1",
                    "ports": [{"name": "http", "containerPort": 8081}],
                    "env": [
                        {"name": "POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
                        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                        {"name": "OPERATOR_PUBLIC_KEY", "value": KEY},
                        {"name": "AGENT_CODE", "value": ""},
                        {"name": "AGENT_VAD", "value": "native"},
                        {"name": "AGENT_PROVIDERS", "value": providers_json(CLOUD)},
                        {"name": "AGENT_LOG_LEVEL", "value": "INFO"},
                    ],
                    "resources": {
                        "requests": {"cpu": "100m", "memory": "160Mi"},
                        "limits": {"memory": "512Mi"},
                    },
                    "readinessProbe": {
                        "httpGet": {"path": "/readyz", "port": 8081},
                        "periodSeconds": 1,
                        "timeoutSeconds": 1,
                        "failureThreshold": 3,
                    },
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "terminationMessagePath": "/dev/termination-log",
                    "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
                }
            ],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
            "topologySpreadConstraints": [
                {
                    "maxSkew": 1,
                    "topologyKey": "kubernetes.io/hostname",
                    "whenUnsatisfiable": "ScheduleAnyway",
                    "labelSelector": {
                        "matchLabels": {"voiceagents.dev/pool": "default", "voiceagents.dev/state": "warm"}
                    },
                }
            ],
        },
    }


def test_the_pools_settings_reach_the_pod_and_nothing_but_them_differs() -> None:
    toleration = {"key": "voice", "operator": "Exists"}
    spread = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
    pool = make_pool(
        pod={
            "nodeSelector": {"disk": "fast"},
            "tolerations": [toleration],
            "affinity": {"nodeAffinity": {}},
            "topologySpreadConstraints": [spread],
            "runtimeClassName": "gvisor",
            "priorityClassName": "high",
            "labels": {"acme.example/team": "voice"},
            "annotations": {"acme.example/note": "x"},
            "imagePullSecrets": [{"name": "pull"}],
        }
    )
    plain, pod = build(make_pool()), build(pool)
    assert {key: value for key, value in pod["spec"].items() if plain["spec"].get(key) != value} == {
        "nodeSelector": {"disk": "fast"},
        "tolerations": [*plain["spec"]["tolerations"], toleration],
        "affinity": {"nodeAffinity": {}},
        "topologySpreadConstraints": [spread],
        "runtimeClassName": "gvisor",
        "priorityClassName": "high",
        "imagePullSecrets": [{"name": "pull"}],
    }
    assert pod["metadata"]["labels"]["acme.example/team"] == "voice"
    assert pod["metadata"]["annotations"]["acme.example/note"] == "x"


def test_a_pools_labels_cannot_replace_the_operators() -> None:
    pod = build(make_pool(pod={"labels": {"voiceagents.dev/state": "claimed", "voiceagents.dev/pool": "other"}}))
    assert pod["metadata"]["labels"]["voiceagents.dev/state"] == "warm"
    assert pod["metadata"]["labels"]["voiceagents.dev/pool"] == "default"


def test_a_providers_key_is_a_file_and_never_in_the_environment() -> None:
    provider = {**CLOUD, "secretRef": {"name": "openai", "key": "token"}}
    pod = build(make_pool(providers=[provider, LOCAL]))
    assert pod["spec"]["volumes"][1:] == [
        {
            "name": "key-cloud",
            "secret": {
                "secretName": "openai",
                "items": [{"key": "token", "path": "api-key"}],
                "defaultMode": 0o440,
            },
        }
    ]
    (container,) = pod["spec"]["containers"]
    assert container["volumeMounts"][1:] == [
        {"name": "key-cloud", "mountPath": "/etc/voice-agent/providers/cloud", "readOnly": True}
    ]


def test_the_database_comes_from_its_secret() -> None:
    (container,) = build(make_pool(), "agent-database")["spec"]["containers"]
    assert container["env"][-1] == {
        "name": "DATABASE_URL",
        "valueFrom": {"secretKeyRef": {"name": "agent-database", "key": "url"}},
    }


@pytest.mark.parametrize(("providers", "local"), [([LOCAL], True), ([LOCAL, CLOUD], False), ([], False)])
def test_pods_without_a_cloud_key_are_kept_inside_the_cluster(providers: list[dict[str, Any]], local: bool) -> None:
    labels = build(make_pool(providers=providers))["metadata"]["labels"]
    assert labels.get("voiceagents.dev/egress") == ("local" if local else None)


def test_the_kubelet_expands_nothing_in_a_pools_words() -> None:
    provider = {**CLOUD, "llm": {"model": "$(DATABASE_URL)"}}
    (container,) = build(make_pool(providers=[provider]), "db")["spec"]["containers"]
    (value,) = [each["value"] for each in container["env"] if each["name"] == "AGENT_PROVIDERS"]
    assert "$$(DATABASE_URL)" in value


@pytest.mark.parametrize(
    ("changes", "outdated"),
    [
        ({"image": "agent:2"}, True),
        ({"code": "acme.bot:Support"}, True),
        ({"pod": {"nodeSelector": {"disk": "fast"}}}, True),
        ({"pod": {"annotations": {"a": "b"}}}, True),
        ({"warm": {"min": 9}}, False),
    ],
)
def test_only_what_pods_are_made_of_makes_them_outdated(changes: dict[str, Any], outdated: bool) -> None:
    before = hash_template(build_template(make_pool(), KEY, "", "INFO"))
    after = hash_template(build_template(make_pool(**changes), KEY, "", "INFO"))
    assert (before != after) is outdated


def test_pods_that_know_another_operators_key_are_outdated() -> None:
    assert hash_template(build_template(make_pool(), KEY, "", "INFO")) != hash_template(
        build_template(make_pool(), "another", "", "INFO")
    )
