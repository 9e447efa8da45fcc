"""Rules of the Pod that a pool's agents run in; whole Pods are compared in tests/unit/test_golden.py."""

from typing import Any

import pytest

from testing.operator_objects import CLOUD, LOCAL, make_pool
from voice_agent.settings import AgentSettings
from voice_operator.pools.pod_template import (
    TRACES_VARIABLE,
    PodBasis,
    build_agent_pod,
    build_template,
    hash_template,
)
from voicesession.models import AgentPool
from voicesession.pod_environment import OPERATOR_VARIABLES

KEY = "-----BEGIN PUBLIC KEY-----"
POD_KEY = "the pod's own"


def build(pool: AgentPool, secret: str = "") -> dict[str, Any]:
    return build_agent_pod(pool, PodBasis(KEY, secret), POD_KEY)


def test_a_pools_labels_cannot_replace_the_operators() -> None:
    pod = build(make_pool(pod={"labels": {"voiceagents.dev/state": "claimed", "voiceagents.dev/pool": "other"}}))
    assert pod["metadata"]["labels"]["voiceagents.dev/state"] == "warm"
    assert pod["metadata"]["labels"]["voiceagents.dev/pool"] == "default"


@pytest.mark.parametrize("user_id", [None, 10001])
def test_pods_are_never_root_and_whose_user_they_are_may_be_left_to_the_platform(user_id: int | None) -> None:
    security = build_agent_pod(make_pool(), PodBasis(KEY, user_id=user_id), POD_KEY)["spec"]["securityContext"]
    assert security["runAsNonRoot"] is True
    given = {security.get(field) for field in ("runAsUser", "runAsGroup", "fsGroup")}
    assert given == {user_id}


def test_each_key_is_a_file_of_its_own_mount_and_never_in_the_environment() -> None:
    keyed = {**CLOUD, "secretRef": {"name": "openai", "key": "token"}}
    provider = {**keyed, "stt": {"model": "stt", "secretRef": {"name": "ears"}}}
    pod = build(make_pool(providers=[provider, LOCAL]))
    assert [(volume["name"], volume["secret"]) for volume in pod["spec"]["volumes"][1:]] == [
        ("key-cloud", build_secret("openai", "token")),
        ("key--stt-cloud", build_secret("ears", "api-key")),
    ]
    (container,) = pod["spec"]["containers"]
    assert container["volumeMounts"][1:] == [
        {"name": "key-cloud", "mountPath": "/etc/voice-agent/providers/cloud", "readOnly": True},
        {"name": "key--stt-cloud", "mountPath": "/etc/voice-agent/providers/cloud.stt", "readOnly": True},
    ]


def build_secret(name: str, key: str) -> dict[str, Any]:
    return {"secretName": name, "items": [{"key": key, "path": "api-key"}], "defaultMode": 0o440}


@pytest.mark.parametrize(("providers", "local"), [([LOCAL], True), ([LOCAL, CLOUD], False), ([], False)])
def test_pods_without_a_cloud_key_are_kept_inside_the_cluster(providers: list[dict[str, Any]], local: bool) -> None:
    labels = build(make_pool(providers=providers))["metadata"]["labels"]
    assert labels.get("voiceagents.dev/egress") == ("local" if local else None)


def test_the_kubelet_expands_nothing_in_a_pools_words() -> None:
    provider = {**CLOUD, "llm": {"model": "$(DATABASE_URL)"}}
    (container,) = build(make_pool(providers=[provider]), "db")["spec"]["containers"]
    (value,) = [each["value"] for each in container["env"] if each["name"] == "AGENT_PROVIDERS"]
    assert "$$(DATABASE_URL)" in value


def test_waiting_pods_keep_no_node_unless_their_pool_says_so() -> None:
    key = "cluster-autoscaler.kubernetes.io/safe-to-evict"
    assert build(make_pool())["metadata"]["annotations"][key] == "true"
    assert build(make_pool(pod={"annotations": {key: "false"}}))["metadata"]["annotations"][key] == "false"


@pytest.mark.parametrize(
    ("disruption", "seconds"),
    [
        ({"onDrain": "Wait"}, 3600),
        ({"onDrain": "Wait", "graceSeconds": 7200}, 7200),
        ({"onDrain": "Move", "graceSeconds": 90}, 90),
    ],
)
def test_pod_and_kubelet_agree_on_how_long_a_call_may_go_on(disruption: dict[str, Any], seconds: int) -> None:
    spec = build(make_pool(disruption=disruption))["spec"]
    assert spec["terminationGracePeriodSeconds"] == seconds
    (container,) = spec["containers"]
    assert {"name": "AGENT_GRACE_SECONDS", "value": str(seconds)} in container["env"]


def test_nothing_of_ours_is_left_to_what_comes_by_env_from() -> None:
    (container,) = build(make_pool(envFrom=[{"secretRef": {"name": "vendors"}}]))["spec"]["containers"]
    assert {each["name"] for each in container["env"]} == OPERATOR_VARIABLES
    # A team may have a collector of its own.
    assert {name.upper() for name in AgentSettings.model_fields} - {TRACES_VARIABLE} == OPERATOR_VARIABLES


def test_a_pools_variables_cannot_replace_the_operators() -> None:
    env = [
        {"name": "POD_NAME", "value": "x"},
        {"name": "LIVEKIT_API_SECRET", "value": "x"},
        {"name": "A", "value": "1"},
    ]
    (container,) = build(make_pool(env=env))["spec"]["containers"]
    theirs = [each for each in container["env"] if each["name"] not in OPERATOR_VARIABLES or each.get("value") == "x"]
    assert theirs == [{"name": "A", "value": "1"}]


def test_what_a_pod_is_told_of_its_place_is_what_it_would_take_by_itself() -> None:
    (container,) = build(make_pool())["spec"]["containers"]
    told = {each["name"].lower(): each["value"] for each in container["env"] if "value" in each}
    for name in ("agent_address", "agent_port", "provider_keys_folder", "termination_log"):
        assert told[name] == str(AgentSettings.model_fields[name].default)


def test_a_pod_has_a_token_only_where_the_pool_says_whose() -> None:
    nobodys, somebodys = build(make_pool())["spec"], build(make_pool(pod={"serviceAccountName": "crm"}))["spec"]
    assert (nobodys["automountServiceAccountToken"], nobodys.get("serviceAccountName")) == (False, None)
    assert (somebodys["automountServiceAccountToken"], somebodys["serviceAccountName"]) == (True, "crm")


def test_there_is_no_cpu_limit_unless_a_pool_names_one() -> None:
    def limits(**resources: Any) -> Any:
        return build(make_pool(resources=resources))["spec"]["containers"][0]["resources"]["limits"]

    assert limits() == {"memory": "512Mi"}
    assert limits(cpuLimit="2", extra={"nvidia.com/gpu": 1}) == {"cpu": "2", "memory": "512Mi", "nvidia.com/gpu": 1}


@pytest.mark.parametrize(
    ("changes", "outdated"),
    [
        ({"image": "agent:2"}, True),
        ({"code": "acme.bot:Support"}, True),
        ({"disruption": {"onDrain": "Wait", "graceSeconds": 15}}, True),
        ({"pod": {"nodeSelector": {"disk": "fast"}}}, True),
        ({"pod": {"annotations": {"a": "b"}}}, True),
        ({"pod": {"serviceAccountName": "crm"}}, True),
        ({"env": [{"name": "CRM", "value": "https://crm"}]}, True),
        ({"envFrom": [{"secretRef": {"name": "vendors"}}]}, True),
        ({"volumes": [{"name": "cache", "emptyDir": {}}]}, True),
        ({"imagePullPolicy": "Always"}, True),
        ({"resources": {"cpuLimit": "1"}}, True),
        ({"warm": {"min": 9}}, False),
    ],
)
def test_only_what_pods_are_made_of_makes_them_outdated(changes: dict[str, Any], outdated: bool) -> None:
    before = hash_template(build_template(make_pool(), PodBasis(KEY)))
    after = hash_template(build_template(make_pool(**changes), PodBasis(KEY)))
    assert (before != after) is outdated


def test_pods_that_wait_with_an_older_password_are_outdated() -> None:
    pods = [
        build_agent_pod(make_pool(), PodBasis(KEY, "db", database_version=each), POD_KEY) for each in ("", "a", "b")
    ]
    assert len({pod["metadata"]["labels"]["voiceagents.dev/template"] for pod in pods}) == 3
    assert [pod["metadata"]["annotations"].get("voiceagents.dev/database") for pod in pods] == [None, "a", "b"]


def test_pods_that_know_another_operators_key_are_outdated() -> None:
    assert hash_template(build_template(make_pool(), PodBasis(KEY))) != hash_template(
        build_template(make_pool(), PodBasis("another"))
    )


def test_every_pod_has_a_key_of_its_own_which_makes_none_outdated() -> None:
    one, other = (build_agent_pod(make_pool(), PodBasis(KEY), key) for key in ("one", "other"))
    keys = [each["spec"]["containers"][0]["env"][-1] for each in (one, other)]
    assert keys == [{"name": "POD_SEAL_KEY", "value": "one"}, {"name": "POD_SEAL_KEY", "value": "other"}]
    assert one["metadata"] == other["metadata"]
