"""Secrets where no cluster can be asked (`helm template`, Argo CD): nothing is random, and each has its name."""

from typing import Any

import pytest

from local_cluster.binaries import KUBERNETES_VERSION
from testing.chart import CHART, NAMESPACE, RELEASE, pod_templates, render, run_helm, secret_keys

EXISTING = {
    "keys": "our-keys",
    "databaseRoles": "our-roles",
    "agentDatabase": "our-agents",
    "databaseOwner": "our-owner",
    "livekit": "our-livekit",
}
NAMED = {"secrets": {name: {"existingSecret": secret} for name, secret in EXISTING.items()}}
NONE_MADE = "The chart's Secrets are not here, because no cluster could be asked"


def template(values: dict[str, Any]) -> str:
    """Returns what `helm template` prints."""
    version = ("--kube-version", KUBERNETES_VERSION)
    return run_helm("template", RELEASE, str(CHART), "--namespace", NAMESPACE, *version, values=values)


@pytest.mark.parametrize(
    ("values", "told"),
    [({}, True), ({"secrets": {"create": False}}, False), (NAMED, True)],
    ids=["defaults", "all of them ours", "each by its name"],
)
def test_two_renderings_are_the_same_to_the_byte_and_make_no_secret(values: dict[str, Any], told: bool) -> None:
    one, other = template(values), template(values)
    assert one == other
    assert "kind: Secret\n" not in one
    assert (NONE_MADE in one) is told


def test_every_secret_may_be_one_of_ones_own() -> None:
    objects = render(NAMED)
    named = {secret for _, each in pod_templates(objects) for secret, _ in secret_keys(each["spec"])}
    mounted = {
        volume["secret"]["secretName"]
        for _, each in pod_templates(objects)
        for volume in each["spec"]["volumes"]
        if "secret" in volume
    }
    operator = dict(pod_templates(objects))["r-voice-agent-operator"]["spec"]["containers"][0]["env"]
    agents = {each["value"] for each in operator if each["name"] == "AGENT_DATABASE_SECRET"}
    assert named | mounted | agents == set(EXISTING.values())


def test_a_secret_of_ones_own_leaves_the_others_as_they_are() -> None:
    before, after = (
        dict(pod_templates(render(values))) for values in ({}, {"secrets": {"livekit": {"existingSecret": "lk"}}})
    )
    changed = {name.removeprefix("r-voice-agent-") for name in before if before[name] != after[name]}
    assert changed == {"livekit", "operator", "token-service"}


def test_what_is_read_is_not_known_and_so_not_annotated() -> None:
    for name, each in pod_templates(render(NAMED)):
        assert "voiceagents.dev/secrets" not in each["metadata"].get("annotations", {}), name
