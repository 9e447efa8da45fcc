"""The chart as a release in a real API server, which runs no pods."""

import base64
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from local_cluster.binaries import KUBERNETES
from testing.chart import CHART, NAMESPACE, RELEASE, Raw, run_helm


@dataclass(frozen=True)
class Installation:
    """The release in the API server."""

    kubeconfig: Path

    def kubectl(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        command = [str(KUBERNETES.path("kubectl")), "--kubeconfig", str(self.kubeconfig), "-n", NAMESPACE, *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)

    def get(self, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", *arguments, "-o", "json").stdout)

    def upgrade(self, release: str = RELEASE, **values: Any) -> None:
        """Installs or upgrades; without the migrations, which would need pods to run."""
        run_helm(
            *(
                "upgrade",
                "--install",
                release,
                str(CHART),
                "--namespace",
                NAMESPACE,
                "--create-namespace",
                "--no-hooks",
                "--reset-values",
            ),
            values=values,
            kubeconfig=self.kubeconfig,
        )

    def objects(self) -> list[Raw]:
        """Returns what helm made of the chart at the last upgrade, hooks too."""
        made = (
            run_helm("get", what, RELEASE, "-n", NAMESPACE, kubeconfig=self.kubeconfig)
            for what in ("manifest", "hooks")
        )
        return [found for text in made for found in yaml.safe_load_all(text) if found]

    def notes(self) -> str:
        """Returns what helm told at the last upgrade."""
        return run_helm("get", "notes", RELEASE, "-n", NAMESPACE, kubeconfig=self.kubeconfig)

    def generations(self) -> dict[str, int]:
        """Returns how often the spec of each Deployment and StatefulSet was another, by component."""
        found = self.get("deployments,statefulsets", "-l", f"app.kubernetes.io/instance={RELEASE}")["items"]
        return {
            item["metadata"]["labels"]["app.kubernetes.io/component"]: item["metadata"]["generation"] for item in found
        }

    def remove_key(self, secret: str, key: str) -> None:
        """Takes a key out of one of the release's Secrets."""
        patch = json.dumps([{"op": "remove", "path": f"/data/{key}"}])
        removed = self.kubectl("patch", "secret", f"{RELEASE}-voice-agent-{secret}", "--type=json", "-p", patch)
        assert removed.returncode == 0, removed.stderr

    def secrets(self) -> dict[str, dict[str, str]]:
        return {
            item["metadata"]["name"]: {key: base64.b64decode(value).decode() for key, value in item["data"].items()}
            for item in self.get("secrets", "-l", f"app.kubernetes.io/instance={RELEASE}")["items"]
        }

    def may(self, account: str, verb: str, resource: str, namespace: str = NAMESPACE) -> bool:
        user = f"--as=system:serviceaccount:{NAMESPACE}:{account}"
        name, _, part = resource.partition("/")
        question = ("auth", "can-i", verb, name, f"--subresource={part}", user, "-n", namespace)
        return self.kubectl(*question).stdout.strip() == "yes"

    def add_node(self, name: str, address: str, hostname: str = "") -> None:
        """Adds a node that takes pods. `hostname`: what its label says, where that is not its name."""
        labels = {"kubernetes.io/hostname": hostname or name}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
        self.kubectl("create", "-f", "-", stdin=json.dumps(node))
        status = {"status": {"addresses": [{"type": "InternalIP", "address": address}]}}
        self.kubectl("patch", "node", name, "--subresource=status", "--type=merge", "-p", json.dumps(status))
        self.kubectl("taint", "node", name, "node.kubernetes.io/not-ready:NoSchedule-")

    def livekit_place(self) -> tuple[dict[str, str], str]:
        """Returns the labels of the node that LiveKit is bound to, and the address that browsers are told."""
        livekit = self.get("deployment", f"{RELEASE}-voice-agent-livekit")["spec"]["template"]["spec"]
        service = self.get("deployment", f"{RELEASE}-voice-agent-token-service")["spec"]["template"]["spec"]
        variables = {item["name"]: item.get("value") for item in service["containers"][0]["env"]}
        return livekit["nodeSelector"], variables["LIVEKIT_PUBLIC_URL"]
