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
    manifest = json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    kubectl(api_server, "apply", "-f", "-", stdin=manifest)
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
