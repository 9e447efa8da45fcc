"""What a checkout is given of a cluster: .cluster/ with kubeconfig, kubectl, helm and the current images."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import yaml

from local_cluster.binaries import HELM, KUBERNETES
from local_cluster.layout import HANDOUT, KUBECONFIG

IMAGES_JSON = HANDOUT / "images.json"
IMAGES_YAML = HANDOUT / "images.yaml"


def write_cluster(kubeconfig: Path) -> None:
    """Writes the kubeconfig (readable by its owner only) and links the tools that match the cluster."""
    HANDOUT.mkdir(exist_ok=True)
    KUBECONFIG.unlink(missing_ok=True)
    KUBECONFIG.touch(mode=0o600)
    KUBECONFIG.write_text(kubeconfig.read_text())
    tools = HANDOUT / "bin"
    tools.mkdir(exist_ok=True)
    for name, path in {"kubectl": KUBERNETES.path("kubectl"), "helm": HELM.path()}.items():
        link = tools / name
        link.unlink(missing_ok=True)
        if path.exists():
            link.symlink_to(path)


def write_images(everything: Mapping[str, str], values: Mapping[str, str]) -> None:
    """Adds the images' references to what is written down: `everything` by name, `values` by the chart's keys."""
    HANDOUT.mkdir(exist_ok=True)
    known = json.loads(IMAGES_JSON.read_text()) if IMAGES_JSON.exists() else {}
    IMAGES_JSON.write_text(json.dumps({**known, **everything}, indent=2) + "\n")
    chart = yaml.safe_load(IMAGES_YAML.read_text())["images"] if IMAGES_YAML.exists() else {}
    ours = {key: split_reference(reference) for key, reference in values.items()}
    IMAGES_YAML.write_text(yaml.safe_dump({"images": {**chart, **ours}}))


def split_reference(reference: str) -> dict[str, str]:
    """Returns a reference to an image, REGISTRY/REPOSITORY:TAG, as the chart's values have it."""
    registry, _, path = reference.partition("/")
    repository, _, tag = path.rpartition(":")
    return {"registry": registry, "repository": repository, "tag": tag}


def remove_cluster() -> None:
    """Takes back what belongs to a cluster that is gone."""
    shutil.rmtree(HANDOUT, ignore_errors=True)


def describe() -> list[str]:
    """How to use it, a line each."""
    return [f"export KUBECONFIG={KUBECONFIG}", f"export PATH={HANDOUT / 'bin'}:$PATH"]
