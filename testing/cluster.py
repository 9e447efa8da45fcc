"""The cluster that `make cluster` gives, as the e2e tests see it: kubectl, and pods that run a line of Python."""

import json
import subprocess
from pathlib import Path
from typing import Any

from local_cluster.commands import run
from local_cluster.handout import IMAGES_JSON
from local_cluster.layout import HANDOUT, KUBECONFIG


def kubectl(*arguments: str, stdin: str | None = None, timeout: float = 120) -> str:
    """What kubectl prints; raises ClusterError with its last words."""
    return run(*kubectl_command(), *arguments, stdin=stdin, timeout=timeout)


def kubectl_command() -> list[str | Path]:
    """How kubectl is called here, for what outlives one call."""
    return [HANDOUT / "bin/kubectl", f"--kubeconfig={KUBECONFIG}"]


def get(kind: str, name: str, namespace: str | None = None) -> dict[str, Any]:
    """One object; raises ClusterError when it is not there."""
    where = [f"--namespace={namespace}"] if namespace else []
    found: dict[str, Any] = json.loads(kubectl("get", kind, name, *where, "--output=json"))
    return found


def apply(*objects: dict[str, Any]) -> None:
    """Creates or changes objects."""
    kubectl("apply", "--filename=-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))


def build_python_pod(name: str, program: str, *, node: str | None = None, memory: str = "64Mi") -> dict[str, Any]:
    """A pod of one container that runs a Python program once, on one node if named."""
    container = {
        "name": "main",
        "image": python_image(),
        "command": ["python", "-c", program],
        "resources": {"requests": {"memory": "32Mi"}, "limits": {"memory": memory}},
    }
    spec: dict[str, Any] = {"containers": [container], "restartPolicy": "Never", "terminationGracePeriodSeconds": 0}
    if node is not None:
        spec["nodeSelector"] = {"kubernetes.io/hostname": node}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec}


def image(name: str) -> str:
    """The reference of one of our images, as it is in the cluster."""
    images: dict[str, str] = json.loads(IMAGES_JSON.read_text())
    return images[name]


def python_image() -> str:
    """An image of ours that has Python."""
    return image("operator")


def popen_kubectl(*arguments: str) -> subprocess.Popen[str]:
    """A kubectl that goes on until it is ended."""
    return subprocess.Popen([*kubectl_command(), *arguments], stdout=subprocess.PIPE, text=True)
