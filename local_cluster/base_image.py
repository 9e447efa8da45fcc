"""The base of the images: a public one with Docker, a Debian made here by debootstrap with buildah."""

import hashlib
import os
import tempfile
from pathlib import Path

from local_cluster.builders import Buildah, Docker
from local_cluster.commands import run
from local_cluster.layout import PACKAGE
from local_cluster.progress import step

_DOCKERFILE = PACKAGE / "images/base/Dockerfile"
_SUITE = "bookworm"
_PACKAGES = "ca-certificates,python3,python3-venv"


def base_reference(builder: Docker | Buildah) -> str:
    """The reference to build on, or "" for what each Dockerfile names itself; IMAGE_BASE overrules it."""
    chosen = os.environ.get("IMAGE_BASE")
    if chosen is not None or isinstance(builder, Docker):
        return chosen or ""
    recipe = f"{_SUITE} {_PACKAGES} {_DOCKERFILE.read_text()}"
    return f"localhost/voice-agent-operator/base:{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


def ensure_base(builder: Docker | Buildah) -> str:
    """Makes the base (about a minute) unless it is kept from earlier or others publish it; returns `base_reference`.

    Raises ClusterError when debootstrap fails.
    """
    reference = base_reference(builder)
    if isinstance(builder, Buildah) and os.environ.get("IMAGE_BASE") is None and not builder.has(reference):
        with step("base image (once; a Debian with Python, by debootstrap)"):
            _make(builder, reference)
    return reference


def _make(builder: Buildah, reference: str) -> None:
    with tempfile.TemporaryDirectory() as scratch_name:
        scratch = Path(scratch_name)
        run("debootstrap", "--variant=minbase", f"--include={_PACKAGES}", _SUITE, scratch / "rootfs", timeout=900)
        context = scratch / "context"
        context.mkdir()
        (context / "Dockerfile").write_text(_DOCKERFILE.read_text())
        unneeded = ["./var/cache/apt/archives/*.deb", "./var/lib/apt/lists/*", "./usr/share/doc/*", "./usr/share/man/*"]
        unneeded += ["./usr/share/locale/*", "./var/log/*", "./proc/*", "./sys/*", "./dev/*"]
        excludes = [f"--exclude={pattern}" for pattern in unneeded]
        run("tar", "--create", f"--file={context / 'rootfs.tar'}", *excludes, "-C", scratch / "rootfs", ".")
        builder.build(context, reference, {})
