"""Renders and installs the chart with the pinned helm."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from local_cluster.binaries import HELM, KUBERNETES_VERSION, ensure
from local_cluster.layout import REPOSITORY

CHART = REPOSITORY / "charts" / "voice-agent"
RELEASE = "r"
NAMESPACE = "voice"
# Values with the page of calls.
WITH_CALLS: Mapping[str, Any] = {
    "tokenService": {
        "auth": {"mode": "api-key", "apiKeysSecret": "keys"},
        "callsPage": {"enabled": True, "allTenants": ["sre", "ops"]},
    }
}

Raw = dict[str, Any]


class HelmError(Exception):
    """What helm says when it refuses."""


def run_helm(*arguments: str, values: Mapping[str, Any] | None = None, kubeconfig: Path | None = None) -> str:
    """Runs helm; returns what it prints.

    Raises:
        HelmError: it failed.
    """
    ensure([HELM])
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/tmp")}
    environment["KUBECONFIG"] = str(kubeconfig or "/dev/null")
    command = [str(HELM.path()), *arguments]
    if values is not None:
        command += ["-f", "-"]
    done = subprocess.run(
        command, input=json.dumps(values), env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode:
        raise HelmError(done.stderr)
    return done.stdout


def render(
    values: Mapping[str, Any] | None = None, release: str = RELEASE, chart: Path = CHART, namespace: str = NAMESPACE
) -> list[Raw]:
    """Returns every object that the chart makes with these values, hooks too.

    Raises:
        HelmError: the values are refused.
    """
    arguments = ("template", release, str(chart), "--namespace", namespace, "--kube-version", KUBERNETES_VERSION)
    return [found for found in yaml.safe_load_all(run_helm(*arguments, values=values or {})) if found]


def find(objects: list[Raw], kind: str, component: str) -> Raw:
    """Returns the one object of this kind and component."""
    (found,) = [
        item
        for item in objects
        if item["kind"] == kind and item["metadata"]["name"] in {f"{RELEASE}-voice-agent-{component}", component}
    ]
    return found


def pod_templates(objects: list[Raw]) -> Iterator[tuple[str, Raw]]:
    """Yields the name and pod template of everything that makes pods, and of a pod itself."""
    for item in objects:
        if item["kind"] == "Pod":
            yield item["metadata"]["name"], item
        if template := item.get("spec", {}).get("template"):
            yield item["metadata"]["name"], template


def environment_of(objects: list[Raw], kind: str, component: str) -> dict[str, Any]:
    """Returns the first container's variables: their value, or where it comes from."""
    container = find(objects, kind, component)["spec"]["template"]["spec"]["containers"][0]
    return {item["name"]: item.get("value", item.get("valueFrom")) for item in container.get("env", [])}


def secret_keys(node: Any) -> set[tuple[str, str]]:
    """Returns the Secret and the key of each that a pod's spec, or a part of it, names one by one."""
    if isinstance(node, list):
        return set[tuple[str, str]]().union(*map(secret_keys, node))
    if not isinstance(node, dict):
        return set()
    found = secret_keys(list(node.values()))
    if "secretKeyRef" in node:
        found.add((node["secretKeyRef"]["name"], node["secretKeyRef"]["key"]))
    if isinstance(node.get("secret"), dict):
        name = node["secret"].get("secretName") or node["secret"]["name"]
        found |= {(name, item["key"]) for item in node["secret"].get("items", [])}
    return found
