"""The chart of the CRDs: the same ones that the release's chart brings, and what helm does with them."""

import yaml

from local_cluster.binaries import KUBERNETES_VERSION
from local_cluster.layout import REPOSITORY
from testing.chart import run_helm
from testing.crds import load_crds

CHARTS = REPOSITORY / "charts"


def test_they_are_the_same_and_are_kept() -> None:
    chart = str(CHARTS / "voice-agent-crds")
    assert "0 chart(s) failed" in run_helm("lint", "--strict", chart)
    made = [
        item
        for item in yaml.safe_load_all(run_helm("template", "c", chart, "--kube-version", KUBERNETES_VERSION))
        if item
    ]
    assert {item["spec"]["names"]["kind"]: item["spec"] for item in made} == {
        kind: crd["spec"] for kind, crd in load_crds().items()
    }
    assert {item["metadata"]["annotations"]["helm.sh/resource-policy"] for item in made} == {"keep"}


def test_both_charts_have_one_version() -> None:
    ours, theirs = (
        yaml.safe_load((CHARTS / name / "Chart.yaml").read_text()) for name in ("voice-agent", "voice-agent-crds")
    )
    assert all(ours[field] == theirs[field] for field in ("version", "appVersion", "kubeVersion"))
