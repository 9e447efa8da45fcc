"""The CRDs by their own chart: what is there is taken over and upgraded, and stays with all its objects."""

import copy
import json
from typing import Any

from local_cluster.layout import REPOSITORY
from testing.chart import RELEASE, run_helm
from testing.crds import load_crds
from testing.installation import Installation

CHART = REPOSITORY / "charts" / "voice-agent-crds"
NAME = "agentpools.voiceagents.dev"
LACKING = "hangSeconds"


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
