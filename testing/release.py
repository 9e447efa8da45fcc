"""Installs the chart into a namespace of a cluster, and asks that namespace things: helm and kubectl, nothing else."""

import base64
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from local_cluster.handout import IMAGES_YAML
from local_cluster.layout import HANDOUT, KUBECONFIG, REPOSITORY
from testing.chart import CHART
from testing.progress import Step
from testing.waiting import eventually_sync

# Where the host finds the token service; see `expose`.
LOCAL_VALUES = REPOSITORY / "demo" / "values.yaml"


class ReleaseError(Exception):
    """helm or kubectl failed; the message has its last words."""


def kubeconfig_path() -> Path:
    """Returns the kubeconfig of the local cluster, or $KUBECONFIG where CLUSTER=current."""
    if os.environ.get("CLUSTER") == "current" and os.environ.get("KUBECONFIG"):
        return Path(os.environ["KUBECONFIG"])
    return KUBECONFIG


def tool_environment() -> dict[str, str]:
    """Returns the environment in which helm and kubectl reach the cluster."""
    path = f"{HANDOUT / 'bin'}:{os.environ.get('PATH', '')}"
    return {**os.environ, "KUBECONFIG": str(kubeconfig_path()), "PATH": path}


def run_tool(*command: str, stdin: str | None = None, timeout: float = 120.0) -> str:
    """Runs helm or kubectl against the cluster; returns what it prints.

    Raises:
        ReleaseError: it failed, or did not end within `timeout` seconds.
    """
    try:
        done = subprocess.run(
            command, input=stdin, env=tool_environment(), capture_output=True, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ReleaseError(f"`{' '.join(command)}` did not end within {timeout:.0f} s") from error
    if done.returncode:
        words = (done.stderr or done.stdout).strip()[-2000:]
        raise ReleaseError(f"`{' '.join(command)}` failed with {done.returncode}: {words}")
    return done.stdout


def _first_node() -> dict[str, str]:
    """Returns what chooses the node that the chart gives LiveKit, where another one may be lost without the data."""
    nodes = json.loads(run_tool("kubectl", "get", "nodes", "-o", "json"))["items"]
    free = [node["metadata"]["name"] for node in nodes if not (node["spec"].keys() & {"taints", "unschedulable"})]
    return {"kubernetes.io/hostname": min(free)} if free else {}


@dataclass(frozen=True)
class Release:
    """One installation of the chart in a namespace of its own. `images`: values that name them."""

    name: str
    namespace: str
    chart: Path = CHART
    images: Path = IMAGES_YAML

    def full_name(self, component: str) -> str:
        """Returns the name of a component's objects, as the chart names them."""
        return f"{self.name}-voice-agent-{component}"

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout: float = 60.0) -> str:
        """Runs kubectl in the release's namespace."""
        return run_tool("kubectl", "--namespace", self.namespace, *arguments, stdin=stdin, timeout=timeout)

    def get(self, *arguments: str) -> Any:
        """Returns `kubectl get … -o json`, parsed."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def sql(self, query: str) -> list[dict[str, Any]]:
        """Returns the rows of a query that the release's own Postgres answers, as its owner."""
        answer = self.kubectl(
            *("exec", f"statefulset/{self.full_name('postgres')}", "--"),
            *("psql", "-qAt", "-d", "voice", "-c", f"SELECT coalesce(json_agg(t), '[]') FROM ({query}) t"),
        )
        rows: list[dict[str, Any]] = json.loads(answer)
        return rows

    def node_port_address(self, service: str) -> str:
        """Returns "host:port" at which this machine reaches a NodePort Service."""
        port = self.get("service", service)["spec"]["ports"][0]["nodePort"]
        node = json.loads(run_tool("kubectl", "get", "nodes", "-o", "json"))["items"][0]
        address = next(item["address"] for item in node["status"]["addresses"] if item["type"] == "InternalIP")
        return f"{address}:{port}"

    def token_service_address(self) -> str:
        """Returns "host:port" of the token service."""
        return self.node_port_address(self.full_name("token-service"))

    def local_models_address(self) -> str:
        """Returns "host:port" of the local models."""
        return self.node_port_address(self.full_name("local-models"))

    def livekit_address(self) -> str:
        """Returns "host:port" of the release's LiveKit, which runs in its node's own network."""
        pod = self.get("pods", "-l", "app.kubernetes.io/component=livekit")["items"][0]
        port = next(item for item in pod["spec"]["containers"][0]["ports"] if item["name"] == "http")
        return f"{pod['status']['hostIP']}:{port['containerPort']}"

    def livekit_credentials(self) -> tuple[str, str]:
        """Returns the API key and secret of the release's LiveKit."""
        data = self.get("secret", self.full_name("livekit"))["data"]
        key, secret = (base64.b64decode(data[name]).decode() for name in ("api-key", "api-secret"))
        return key, secret

    def apply(self, *objects: Mapping[str, Any]) -> None:
        """Applies objects into the namespace."""
        self.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all([dict(item) for item in objects]))

    def install(self, values: Mapping[str, Any] | None = None) -> None:
        """Installs or upgrades the chart with the local images; does not wait for its pods."""
        # Helm installs CRDs only once and never upgrades them, so they are applied here.
        run_tool("kubectl", "apply", "--server-side", "--force-conflicts", "-f", str(self.chart / "crds"))
        run_tool(
            *("helm", "upgrade", "--install", self.name, str(self.chart), "--namespace", self.namespace),
            *("--create-namespace", "--skip-crds", "-f", str(self.images), "-f", str(LOCAL_VALUES)),
            *("-f", "-", "--timeout", "5m"),
            stdin=json.dumps({"postgres": {"nodeSelector": _first_node()}, **(values or {})}),
            timeout=320,
        )

    def roll_back(self, revision: int) -> None:
        """Takes the release back to an earlier revision, counted from 1, hooks and all; does not wait for its pods."""
        run_tool("helm", "rollback", self.name, str(revision), "--namespace", self.namespace, timeout=320)

    def try_call(self) -> str:
        """Runs `helm test`, which holds a call; returns what it prints, the log of the test's pod too.

        Raises:
            ReleaseError: the call was not whole.
        """
        return run_tool("helm", "test", self.name, "--namespace", self.namespace, "--logs", timeout=240)

    def is_installed(self) -> bool:
        """Tells whether the cluster has this release."""
        return bool(run_tool("helm", "list", "--namespace", self.namespace, "--filter", f"^{self.name}$", "--short"))

    def uninstall(self) -> None:
        """Removes the release and its namespace."""
        run_tool("helm", "uninstall", self.name, "--namespace", self.namespace, "--ignore-not-found", "--wait")
        run_tool("kubectl", "delete", "namespace", self.namespace, "--ignore-not-found", timeout=180)

    def wait_until_ready(self, step: Step, timeout: float = 300.0) -> None:
        """Waits for every pod of the release and the pool's warm minimum, saying which is still missing.

        Raises:
            ReleaseError: not within `timeout` seconds; names what is missing and why.
        """
        missing: list[str] = []

        def is_ready() -> bool:
            missing[:] = self._not_ready()
            if missing:
                step.note("waiting for " + ", ".join(missing))
            return not missing

        try:
            eventually_sync(is_ready, timeout, pace=1)
        except TimeoutError as error:
            raise ReleaseError(f"not ready after {timeout:.0f} s: {', '.join(missing)}") from error

    def _not_ready(self) -> list[str]:
        missing = []
        for kind in ("deployments", "statefulsets"):
            for item in self.get(kind)["items"]:
                wanted, ready = item["spec"]["replicas"], item["status"].get("readyReplicas", 0)
                if ready < wanted:
                    missing.append(f"{item['metadata']['name']} ({ready}/{wanted})")
        for pool in self.get("agentpools")["items"]:
            wanted, ready = pool["spec"]["warm"]["min"], pool.get("status", {}).get("ready", 0)
            if ready < wanted:
                missing.append(f"pool {pool['metadata']['name']} ({ready}/{wanted} warm)")
        return missing
