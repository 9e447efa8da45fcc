"""The chart of the CRDs: the same ones that the release's chart brings, and what helm does with them."""

import yaml

from local_cluster.binaries import KUBERNETES_VERSION
from local_cluster.layout import REPOSITORY
from testing.chart import Raw, run_helm
from testing.crds import load_crds

CHARTS = REPOSITORY / "charts"
CHART = CHARTS / "voice-agent-crds"


def render_crds_chart(*arguments: str) -> list[Raw]:
    text = run_helm("template", "c", str(CHART), "--kube-version", KUBERNETES_VERSION, *arguments)
    return [item for item in yaml.safe_load_all(text) if item]


def test_they_are_the_same_and_are_kept() -> None:
    assert "0 chart(s) failed" in run_helm("lint", "--strict", str(CHART))
    made = render_crds_chart("--set", "rbac.aggregate=false")
    assert {item["spec"]["names"]["kind"]: item["spec"] for item in made} == {
        kind: crd["spec"] for kind, crd in load_crds().items()
    }
    assert {item["metadata"]["annotations"]["helm.sh/resource-policy"] for item in made} == {"keep"}


def test_roles_are_kubernetes_own_or_none() -> None:
    """The release's accounts have Roles alone (decision 0009)."""
    roles = [item for item in render_crds_chart() if item["kind"] != "CustomResourceDefinition"]
    assert [role["kind"] for role in roles] == ["ClusterRole", "ClusterRole"]
    bound = [label for role in roles for label in role["metadata"]["labels"] if label.startswith("rbac.")]
    assert bound == [f"rbac.authorization.k8s.io/aggregate-to-{name}" for name in ("view", "edit")]


def test_both_charts_have_one_version() -> None:
    ours, theirs = (
        yaml.safe_load((CHARTS / name / "Chart.yaml").read_text()) for name in ("voice-agent", "voice-agent-crds")
    )
    assert all(ours[field] == theirs[field] for field in ("version", "appVersion", "kubeVersion"))
