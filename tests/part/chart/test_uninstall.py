"""What `helm uninstall` leaves: CRDs and data; and that the commands of the page take the rest away."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local_cluster.apiserver import running_apiserver
from local_cluster.binaries import HELM, KUBERNETES
from local_cluster.layout import REPOSITORY
from testing.chart import CHART, run_helm
from testing.controllers import running_controllers
from testing.crds import apply_crds
from testing.waiting import eventually_sync

# As the page calls them.
RELEASE = NAMESPACE = "voice"
COMMANDS = re.findall(r"^    (.+)$", (REPOSITORY / "docs" / "uninstall.md").read_text(), re.MULTILINE)
# Kubernetes' own, without which the API server takes no pod.
ACCOUNT = "serviceaccounts/default"
OWN = {ACCOUNT, "secrets/own"}
DATA = {"persistentvolumeclaims/data-voice-voice-agent-postgres-0", "configmaps/words", *OWN}
GROUP = "voiceagents.dev"


class Leaving:
    """A release that is to go."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig

    def run(self, command: str) -> str:
        """Runs a command as somebody at a shell would."""
        folders = [str(KUBERNETES.folder()), str(HELM.folder()), os.environ["PATH"]]
        environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig), "PATH": ":".join(folders)}
        done = subprocess.run(
            ["bash", "-c", command], env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout

    def create(self, kind: str, name: str, api_version: str = f"{GROUP}/v1alpha1", **fields: Any) -> str:
        """Creates an object in the namespace; returns its uid."""
        metadata = {"name": name, "namespace": NAMESPACE, **fields.pop("metadata", {})}
        text = json.dumps({"apiVersion": api_version, "kind": kind, "metadata": metadata, **fields})
        return self.run(f"kubectl create -o jsonpath='{{.metadata.uid}}' -f - <<'E'\n{text}\nE")

    def create_pod(self, name: str, kind: str, owner: str, uid: str) -> None:
        """Creates an agent pod that belongs to one of our objects."""
        owners = [{"apiVersion": f"{GROUP}/v1alpha1", "kind": kind, "name": owner, "uid": uid, "controller": True}]
        spec = {"containers": [{"name": "agent", "image": "agent"}]}
        self.create("Pod", name, "v1", metadata={"ownerReferences": owners}, spec=spec)

    def left(self) -> set[str]:
        """Returns RESOURCE/NAME of everything in the namespace but Events."""
        kinds = self.run("kubectl api-resources --namespaced --verbs=list -o name").split()
        wanted = ",".join(kind for kind in kinds if not kind.startswith("events"))
        found = self.run(f"kubectl -n {NAMESPACE} get {wanted} -o name --ignore-not-found").split()
        return {re.sub(r"^(\w+?)s?(\.[^/]+)?/", r"\1s/", name) for name in found}


@pytest.fixture
def leaving() -> Iterator[Leaving]:
    """A release in an API server of its own: at the end the CRDs go, too."""
    values = {"livekit": {"publicUrl": "ws://livekit.example.com", "nodeSelector": {"voice": "yes"}}}
    with running_apiserver() as kubeconfig:
        apply_crds(kubeconfig)
        run_helm(
            *("install", RELEASE, str(CHART), "-n", NAMESPACE, "--create-namespace", "--no-hooks"),
            values=values,
            kubeconfig=kubeconfig,
        )
        yield Leaving(kubeconfig)


def test_uninstalling_leaves_crds_and_data_and_the_page_says_how_each_goes(leaving: Leaving) -> None:
    leaving.create("ServiceAccount", "default", "v1")
    session = leaving.create("VoiceSession", "call", spec={"profile": "default", "room": "room"})
    leaving.create_pod("in-a-call", "VoiceSession", "call", session)
    provider = {"name": "p", "llm": {"model": "m"}, "stt": {"model": "m"}, "tts": {"model": "m"}}
    own = leaving.create("AgentPool", "own", spec={"image": "agent", "providers": [provider]})
    leaving.create_pod("own-waits", "AgentPool", "own", own)
    default = leaving.run(f"kubectl -n {NAMESPACE} get agentpool default -o jsonpath='{{.metadata.uid}}'")
    leaving.create_pod("waits", "AgentPool", "default", default)
    leaving.create("Lease", "voice-agent-operator", "coordination.k8s.io/v1")
    leaving.create("ConfigMap", "words", "v1", metadata={"labels": {f"{GROUP}/undelivered": "true"}})
    leaving.create("Secret", "own", "v1")
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    leaving.create("PersistentVolumeClaim", "data-voice-voice-agent-postgres-0", "v1", spec=claim)
    end, uninstall, objects, lease, volume, words, crd_chart, crds = COMMANDS
    ours = {"voicesessions/call", "pods/in-a-call", "agentpools/own", "pods/own-waits", "leases/voice-agent-operator"}
    with running_controllers(
        leaving.kubeconfig, ["garbage-collector-controller", "persistentvolumeclaim-protection-controller"]
    ):
        leaving.run(uninstall)
        eventually_sync(lambda: leaving.left() == DATA | ours, 60, leaving.left, pace=0.5)
        leaving.run(objects)
        leaving.run(lease)
        eventually_sync(lambda: leaving.left() == DATA, 60, leaving.left, pace=0.5)
        assert leaving.run(end).strip() == "No resources found"
        leaving.run(volume)
        leaving.run(words)
        eventually_sync(lambda: leaving.left() == OWN, 60, leaving.left, pace=0.5)
    assert leaving.run(f"kubectl get crd -o name | grep -c {GROUP}").strip() == "3"
    leaving.run(crd_chart)
    leaving.run(crds)
    assert leaving.run(f"kubectl get crd -o name | grep -c {GROUP} || true").strip() == "0"
