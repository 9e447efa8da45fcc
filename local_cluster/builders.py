"""Two ways to turn a folder with a Dockerfile into an image in a registry: Docker where it works, else buildah."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from local_cluster.commands import run, succeeds
from local_cluster.layout import BUILD_STATE, HOST_ADDRESS, REGISTRY_NAME, REGISTRY_PORT, cache_folder

BUILD_SECONDS = 1800.0
# Where images that are built on other images of ours find those, when the store has lost them.
_REGISTRY = f"{HOST_ADDRESS}:{REGISTRY_PORT}"
# It ends when we are killed, and its mounts are its own and end with it.
_LEASHED = ["setpriv", "--pdeathsig", "KILL", "--", "unshare", "--mount", "--propagation", "private"]
CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")


class Builder(Protocol):
    """Builds and pushes images; `reference` is how nodes call them."""

    def build(self, context: Path, reference: str, arguments: Mapping[str, str]) -> None:
        """Builds `context`/Dockerfile. Raises ClusterError with the build's last words."""

    def has(self, reference: str) -> bool:
        """Whether it was built here and is still kept."""

    def push(self, reference: str, registry: str) -> None:
        """Pushes to `registry` (host:port as seen from here), whatever host the reference names."""


class Docker:
    """A Docker daemon with BuildKit."""

    def build(self, context: Path, reference: str, arguments: Mapping[str, str]) -> None:
        """See Builder."""
        flags = build_flags(arguments)
        environment = {**os.environ, "DOCKER_BUILDKIT": "1"}
        run("docker", "build", "--tag", reference, *flags, context, env=environment, timeout=BUILD_SECONDS)

    def has(self, reference: str) -> bool:
        """See Builder."""
        return succeeds("docker", "image", "inspect", reference)

    def push(self, reference: str, registry: str) -> None:
        """See Builder."""
        target = f"{registry}/{reference.split('/', 1)[1]}"
        if target != reference:
            run("docker", "tag", reference, target)
        run("docker", "push", target, timeout=BUILD_SECONDS)


class Buildah:
    """buildah as root, without a daemon; its layers are kept in our cache folder."""

    def __init__(self, run_folder: Path = BUILD_STATE) -> None:
        """Finds its store in the cache folder. `run_folder`: what is of no use after a restart."""
        home = cache_folder() / "buildah"
        home.mkdir(parents=True, exist_ok=True)
        config = home / "containers.conf"
        # Else it makes a folder for its lock below /etc.
        config.write_text(f'[network]\nnetwork_config_dir = "{home / "network"}"\n')
        registries = home / "registries.conf"
        registries.write_text(f'[[registry]]\nprefix = "{REGISTRY_NAME}"\nlocation = "{_REGISTRY}"\ninsecure = true\n')
        self._environment = {
            **os.environ,
            "CONTAINERS_CONF": str(config),
            "CONTAINERS_REGISTRIES_CONF": str(registries),
        }
        self._store = [f"--root={home / 'store'}", f"--runroot={run_folder}", "--storage-driver=overlay"]

    def build(self, context: Path, reference: str, arguments: Mapping[str, str]) -> None:
        """See Builder."""
        options = ["--layers", "--isolation=chroot", f"--tag={reference}", *build_flags(arguments)]
        self.run("build", *options, context)

    def push(self, reference: str, registry: str) -> None:
        """See Builder."""
        target = f"docker://{registry}/{reference.split('/', 1)[1]}"
        # As it is: the registry and the nodes are this machine, and packing costs more than what is packed.
        self.run("push", "--tls-verify=false", "--disable-compression", reference, target)

    def has(self, reference: str) -> bool:
        """See Builder."""
        return bool(self.run("images", "--quiet", "--filter", f"reference={reference}").strip())

    def run(self, *arguments: str | Path) -> str:
        """Runs one buildah command on the store and returns what it printed."""
        command = [*_LEASHED, "buildah", *self._store, *arguments]
        return run(*command, env=self._environment, timeout=BUILD_SECONDS)


def build_flags(arguments: Mapping[str, str]) -> list[str]:
    """Returns what both programs are told of a build's arguments."""
    flags = [f"--build-arg={name}={value}" for name, value in arguments.items()]
    if CA_BUNDLE.exists():
        # The machine's own authorities, for as long as the build lasts.
        flags.append(f"--secret=id=ca,src={CA_BUNDLE}")
    return flags


def choose_builder() -> Docker | Buildah:
    """Docker where a daemon answers, buildah else."""
    return Docker() if succeeds("docker", "info") else Buildah()
