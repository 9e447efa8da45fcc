"""What the chart's objects are called, and whose user its pods are."""

import json
import re
import shutil
from pathlib import Path

import pytest

from testing.chart import CHART, Raw, environment_of, pod_templates, render

OWN = {"default"}  # the pool and the profile, whose names calls ask for


@pytest.mark.parametrize(
    ("values", "prefix"),
    [({}, "r-voice-agent-"), ({"nameOverride": "talk"}, "r-talk-"), ({"fullnameOverride": "talk"}, "talk-")],
)
def test_every_object_and_every_reference_has_the_chosen_name(values: Raw, prefix: str) -> None:
    objects = render(values)
    names = {item["metadata"]["name"] for item in objects}
    assert all(name.startswith(prefix) for name in names - OWN)
    if prefix != "r-voice-agent-":
        assert "r-voice-agent" not in json.dumps(objects)


def test_labels_by_which_pods_are_found_stay() -> None:
    labels = [
        [template["metadata"]["labels"] for _, template in pod_templates(render(values))]
        for values in ({}, {"fullnameOverride": "talk"})
    ]
    assert labels[0] == labels[1]


def test_a_version_may_have_a_build_s_number(tmp_path: Path) -> None:
    chart = tmp_path / "voice-agent"
    shutil.copytree(CHART, chart)
    about = (chart / "Chart.yaml").read_text()
    (chart / "Chart.yaml").write_text(re.sub(r"(?m)^(version|appVersion): .*$", r"\1: 1.2.3-rc.1+build.5", about))
    # Not on a pod: another version would restart it.
    labels = [item["metadata"]["labels"] for item in render(chart=chart) if item["kind"] != "Pod"]
    assert {each["helm.sh/chart"] for each in labels} == {"voice-agent-1.2.3-rc.1_build.5"}
    assert {each["app.kubernetes.io/version"] for each in labels} == {"1.2.3-rc.1_build.5"}


@pytest.mark.parametrize(
    ("values", "user"), [({}, 10001), ({"userId": 1000650000}, 1000650000), ({"userId": None}, None)]
)
def test_whose_user_pods_are_may_be_left_to_the_platform(values: Raw, user: int | None) -> None:
    objects = render(values)
    for name, template in pod_templates(objects):
        security = template["spec"]["securityContext"]
        assert security["runAsNonRoot"] is True, name
        assert {security.get(field) for field in ("runAsUser", "runAsGroup", "fsGroup")} == {user}, name
    told = environment_of(objects, "Deployment", "operator").get("AGENT_USER_ID")
    assert told == (None if user is None else str(user))
