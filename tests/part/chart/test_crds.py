"""The cluster's chart: CRDs that are there are taken over, upgraded and kept; who may do what with their objects."""

import copy
import functools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from local_cluster.layout import REPOSITORY
from testing.chart import NAMESPACE, RELEASE, run_helm
from testing.controllers import running_controllers
from testing.crds import load_crds
from testing.installation import Installation
from testing.waiting import eventually_sync

CHART = REPOSITORY / "charts" / "voice-agent-crds"
NAME = "agentpools.voiceagents.dev"
LACKING = "hangSeconds"


@pytest.fixture
def installed_crds(installation: Installation) -> Iterator[Installation]:
    upgrade = ("upgrade", "--install", "voice-agent-crds", str(CHART), "--take-ownership")
    run_helm(*upgrade, kubeconfig=installation.kubeconfig)
    yield installation
    run_helm("uninstall", "voice-agent-crds", kubeconfig=installation.kubeconfig)


def pool_fields(crd: Any) -> Any:
    (version,) = crd["spec"]["versions"]
    return version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]


def test_older_crds_are_taken_over_upgraded_and_kept(installation: Installation) -> None:
    older = copy.deepcopy(load_crds()["AgentPool"])
    del pool_fields(older)[LACKING]
    manager = ("--field-manager=helm", "--server-side", "--force-conflicts")  # as helm installs what is in crds/
    installation.kubectl("apply", *manager, "-f", "-", stdin=json.dumps(older))
    assert LACKING not in pool_fields(installation.get("crd", NAME))
    try:
        for more in (["--take-ownership"], []):
            upgrade = ("upgrade", "--install", "voice-agent-crds", str(CHART), *more)
            run_helm(*upgrade, kubeconfig=installation.kubeconfig)
            assert pool_fields(installation.get("crd", NAME)) == pool_fields(load_crds()["AgentPool"])
        installation.upgrade()  # the release goes on as it was
    finally:
        run_helm("uninstall", "voice-agent-crds", "--ignore-not-found", kubeconfig=installation.kubeconfig)
    assert pool_fields(installation.get("crd", NAME)) == pool_fields(load_crds()["AgentPool"])
    assert installation.get("agentpool", "default")["metadata"]["labels"]["app.kubernetes.io/instance"] == RELEASE


@pytest.mark.parametrize(
    ("role", "may", "may_not"),
    [
        ("view", ["get voicesessions", "watch agentpools", "list agentprofiles"], ["delete voicesessions"]),
        (
            "edit",
            ["list voicesessions", "create agentprofiles", "delete voicesessions", "patch agentpools/scale"],
            ["patch voicesessions/status"],
        ),
        ("admin", ["list voicesessions", "update agentpools"], ["update agentpools/status"]),
    ],
)
def test_whoever_has_a_role_of_kubernetes_has_it_for_our_kinds(
    installed_crds: Installation, role: str, may: list[str], may_not: list[str]
) -> None:
    user = f"{role}er"
    installed_crds.kubectl("create", "rolebinding", user, f"--clusterrole={role}", f"--user={user}")

    def is_allowed(what: str, namespace: str = NAMESPACE) -> bool:
        verb, _, resource = what.partition(" ")
        kind, _, part = resource.partition("/")
        asked = ("auth", "can-i", verb, f"{kind}.voiceagents.dev", f"--subresource={part}", f"--as={user}")
        return installed_crds.kubectl(*asked, "-n", namespace).stdout.strip() == "yes"

    with running_controllers(installed_crds.kubeconfig, ["clusterrole-aggregation-controller"]):
        for what in may:
            eventually_sync(functools.partial(is_allowed, what), 30, f"{role} may {what}", pace=0.2)
    assert not any(map(is_allowed, may_not))
    assert not any(is_allowed(what, "default") for what in may)
