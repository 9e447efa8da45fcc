"""The project's CRDs, as files and in an API server."""

import subprocess
from pathlib import Path
from typing import Any

import yaml

from local_cluster.binaries import KUBERNETES
from local_cluster.layout import REPOSITORY
from testing.chart import CHART

CRD_FOLDER = CHART / "crds"
EXAMPLES = REPOSITORY / "crds" / "examples"


def load_crds() -> dict[str, Any]:
    """Returns the CRDs by kind."""
    crds = [yaml.safe_load(path.read_text()) for path in sorted(CRD_FOLDER.glob("*.yaml"))]
    return {crd["spec"]["names"]["kind"]: crd for crd in crds}


def load_schema(kind: str) -> Any:
    """Returns the OpenAPI schema of this kind's one version."""
    (version,) = load_crds()[kind]["spec"]["versions"]
    return version["schema"]["openAPIV3Schema"]


def apply_crds(kubeconfig: Path) -> None:
    """Applies the CRDs and waits until the API server serves them.

    Raises:
        AssertionError: with kubectl's words, when the API server refuses one.
    """
    _kubectl(kubeconfig, "apply", "--server-side", "-f", str(CRD_FOLDER))
    names = [f"crd/{crd['metadata']['name']}" for crd in load_crds().values()]
    _kubectl(kubeconfig, "wait", "--for=condition=Established", "--timeout=30s", *names)


def _kubectl(kubeconfig: Path, *arguments: str) -> None:
    command = [str(KUBERNETES.path("kubectl")), "--kubeconfig", str(kubeconfig), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
