"""Typical installations (charts/installations), looked at by a real API server: it would take every object as it is."""

import json
import subprocess
from pathlib import Path

import pytest

from local_cluster.binaries import KUBERNETES
from testing.chart import NAMESPACE, render
from testing.installations import INSTALLATIONS, load_installation


@pytest.fixture(scope="module")
def namespace(api_server: Path) -> str:
    # Besides, what a pod needs that is looked at, that of `helm test`: an account, which a controller would make, and
    # the priority that an installation names.
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": NAMESPACE}}
    priority = {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": "calls"},
        "value": 1,
    }
    for made in ({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}, account, priority):
        kubectl(api_server, "apply", "-f", "-", stdin=json.dumps(made))
    return NAMESPACE


@pytest.mark.parametrize("name", [path.stem for path in INSTALLATIONS])
def test_the_api_server_would_take_it(api_server: Path, namespace: str, name: str) -> None:
    objects = {"apiVersion": "v1", "kind": "List", "items": render(load_installation(name))}
    said = kubectl(
        *(api_server, "apply", "--namespace", namespace, "--server-side", "--dry-run=server", "--validate=strict"),
        *("-f", "-"),
        stdin=json.dumps(objects),
    )
    assert len(said.stdout.splitlines()) == len(objects["items"])
    assert said.stderr == ""


def kubectl(kubeconfig: Path, *arguments: str, stdin: str) -> subprocess.CompletedProcess[str]:
    command = [str(KUBERNETES.path("kubectl")), "--kubeconfig", str(kubeconfig), *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done
