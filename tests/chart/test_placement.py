"""Where the chart's pods run and what they are given: said of all by `pods`, and of each part by itself."""

from collections.abc import Mapping
from typing import Any

import pytest

from testing.chart import Raw, find, pod_templates, render

PARTS = {
    "operator": "operator",
    "token-service": "tokenService",
    "livekit": "livekit",
    "postgres": "postgres",
    "pgbouncer": "pgbouncer",
    "local-models": "localModels",
    "migrations": "migrations",
    "test": "test",
}
PUBLIC: Raw = {"livekit": {"publicUrl": "ws://livekit.example.com", "nodeSelector": {"disk": "fast"}}}
ON_NODES: Raw = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]}
SETTINGS: Raw = {
    "nodeSelector": {"dedicated": "voice"},
    "tolerations": [{"key": "dedicated", "operator": "Equal", "value": "voice", "effect": "NoSchedule"}],
    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": ON_NODES}},
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"}
    ],
    "priorityClassName": "calls",
    "podAnnotations": {"example.com/owner": "voice"},
    "podLabels": {"team": "voice"},
    "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
    "extraEnvFrom": [{"configMapRef": {"name": "proxy"}}],
    "extraVolumes": [{"name": "ca", "configMap": {"name": "company-ca"}}],
    "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/company"}],
}


def placed(template: Raw) -> Raw:
    """Returns what a pod template says of each of the settings."""
    spec, metadata = template["spec"], template["metadata"]
    container, *others = spec["containers"]
    for each in others:
        assert (each.get("env"), each.get("envFrom")) == (container.get("env"), container.get("envFrom"))
        assert each["volumeMounts"][1:] == container["volumeMounts"][1:], "the first is its configuration"
    in_spec = ("nodeSelector", "tolerations", "affinity", "topologySpreadConstraints", "priorityClassName")
    return {
        **{name: spec.get(name) for name in in_spec},
        "podAnnotations": metadata.get("annotations"),
        "podLabels": metadata["labels"],
        "extraEnv": container.get("env"),
        "extraEnvFrom": container.get("envFrom"),
        "extraVolumes": spec["volumes"],
        "extraVolumeMounts": container["volumeMounts"],
    }


def holds(found: Any, wanted: Any) -> bool:
    """Whether what was found has what is wanted, beside what is the chart's own."""
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(holds(found.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return isinstance(found, list) and all(any(holds(item, each) for item in found) for each in wanted)
    return bool(found == wanted)


@pytest.mark.parametrize("name", SETTINGS)
def test_what_is_said_of_all_pods_reaches_every_part(name: str) -> None:
    objects = render({**PUBLIC, "pods": {name: SETTINGS[name]}})
    templates = dict(pod_templates(objects))
    assert len(templates) == len(PARTS)
    for part, template in templates.items():
        assert holds(placed(template)[name], SETTINGS[name]), part


@pytest.mark.parametrize("part", PARTS)
def test_what_is_said_of_a_part_reaches_it_alone(part: str) -> None:
    key = PARTS[part]
    before, after = (
        dict(pod_templates(render(given))) for given in (PUBLIC, {**PUBLIC, key: {**PUBLIC.get(key, {}), **SETTINGS}})
    )
    changed = placed(after.pop(f"r-voice-agent-{part}"))
    assert [name for name, wanted in SETTINGS.items() if not holds(changed[name], wanted)] == []
    before.pop(f"r-voice-agent-{part}")
    assert after == before


def test_a_part_adds_to_what_is_said_of_all_and_wins() -> None:
    own = {
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "priorityClassName": "first",
        "podLabels": {"team": "platform", "app.kubernetes.io/component": "mine"},
    }
    objects = render({**PUBLIC, "pods": SETTINGS, "operator": own})
    template = find(objects, "Deployment", "operator")["spec"]["template"]
    assert template["spec"]["nodeSelector"] == {"dedicated": "voice", "disk": "fast"}
    assert [each["key"] for each in template["spec"]["tolerations"]][2:] == ["dedicated", "gpu"]
    assert template["spec"]["priorityClassName"] == "first"
    assert template["metadata"]["labels"]["team"] == "platform"
    assert template["metadata"]["labels"]["app.kubernetes.io/component"] == "operator", "by these it is found"


def test_constraints_of_ones_own_replace_ours_and_mean_the_part_s_pods() -> None:
    selector = {"matchLabels": {"team": "voice"}}
    zones, hosts = (
        {"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "ScheduleAnyway"} for key in ("zone", "host")
    )
    objects = render({"operator": {"topologySpreadConstraints": [zones, {**hosts, "labelSelector": selector}]}})
    spec = find(objects, "Deployment", "operator")["spec"]
    assert spec["template"]["spec"]["topologySpreadConstraints"] == [
        {**zones, "labelSelector": spec["selector"]},
        {**hosts, "labelSelector": selector},
    ]


def test_service_accounts_have_annotations_and_names() -> None:
    role = {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/voice"}
    accounts = {
        "operator": {"serviceAccount": {"annotations": role, "name": "voice-operator"}},
        "tokenService": {"serviceAccount": {"create": False, "name": "theirs"}},
        "livekit": {"serviceAccount": {"create": True}},
    }
    objects = render(accounts)
    made = {item["metadata"]["name"]: item["metadata"] for item in objects if item["kind"] == "ServiceAccount"}
    assert made.keys() == {"voice-operator", "r-voice-agent-livekit"}
    assert made["voice-operator"]["annotations"] == role
    templates = dict(pod_templates(objects))
    used = {
        name.removeprefix("r-voice-agent-"): each["spec"].get("serviceAccountName") for name, each in templates.items()
    }
    assert {name: account for name, account in used.items() if account} == {
        "operator": "voice-operator",
        "token-service": "theirs",
        "livekit": "r-voice-agent-livekit",
    }
    for component, account in (("operator", "voice-operator"), ("token-service", "theirs")):
        (subject,) = find(objects, "RoleBinding", component)["subjects"]
        assert subject["name"] == account
