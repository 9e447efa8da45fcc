"""Two ways to turn a folder with a Dockerfile into an image in a registry: Docker where it works, else buildah."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from local_cluster.commands import run, succeeds
from local_cluster.layout import STATE, cache_folder

BUILD_SECONDS = 1800.0
CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")


class Builder(Protocol):
    """Builds and pushes images; `reference` is how nodes call them."""

    def build(self, context: Path, reference: str, arguments: Mapping[str, str]) -> None:
        """Builds `context`/Dockerfile. Raises ClusterError with the build's last words."""

    def push(self, reference: str, registry: str) -> None:
        """Pushes to `registry` (host:port as seen from here), whatever host the reference names."""


class Docker:
    """A Docker daemon with BuildKit."""

    def build(self, context: Path, reference: str, arguments: Mapping[str, str]) -> None:
        """See Builder."""
        flags = [f"--build-arg={name}={value}" for name, value in arguments.items()]
        environment = {**os.environ, "DOCKER_BUILDKIT": "1"}
        run("docker", "build", "--tag", reference, *flags, context, env=environment, timeout=BUILD_SECONDS)

    def push(self, reference: str, registry: str) -> None:
        """See Builder."""
        target = f"{registry}/{reference.split('/', 1)[1]}"
        if target != reference:
            run("docker", "tag", reference, target)
        run("docker", "push", target, timeout=BUILD_SECONDS)


class Buildah:
    """buildah as root, without a daemon; its layers are kept in our cache folder."""

    def __init__(self) -> None:
        """Finds its store; nothing is touched before the first build."""
        storage = cache_folder() / "buildah"
        self._command = [
            "buildah",
            f"--root={storage}",
            f"--runroot={STATE / 'buildah'}",
            "--storage-driver=overlay",
        ]

    def build(self, context: Path, reference: str, arguments: Mapping[str, str]) -> None:
        """See Builder."""
        flags = [f"--build-arg={name}={value}" for name, value in arguments.items()]
        if CA_BUNDLE.exists():
            # The machine's own authorities, for as long as the build lasts.
            flags += [f"--volume={CA_BUNDLE.parent}:{CA_BUNDLE.parent}:ro", f"--env=PIP_CERT={CA_BUNDLE}"]
        run(
            *(*self._command, "build", "--layers", "--isolation=chroot", "--tag", reference, *flags, context),
            timeout=BUILD_SECONDS,
        )

    def push(self, reference: str, registry: str) -> None:
        """See Builder."""
        target = f"docker://{registry}/{reference.split('/', 1)[1]}"
        run(*(*self._command, "push", "--tls-verify=false", reference, target), timeout=BUILD_SECONDS)

    def import_archive(self, archive: Path, reference: str) -> None:
        """Makes an image with one layer out of a tar archive of a file system."""
        container = run(*self._command, "from", "scratch").strip()
        try:
            run(*self._command, "add", container, archive, "/", timeout=BUILD_SECONDS)
            run(*self._command, "commit", container, reference, timeout=BUILD_SECONDS)
        finally:
            run(*self._command, "rm", container)

    def has(self, reference: str) -> bool:
        """Whether the image is in the store."""
        return succeeds(*self._command, "inspect", "--type=image", reference)


def choose_builder() -> Docker | Buildah:
    """Docker where a daemon answers, buildah else."""
    return Docker() if succeeds("docker", "info") else Buildah()
