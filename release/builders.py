"""Builds an image for several architectures under one name: with Docker Buildx where that works, else with buildah."""

import json
import os
import platform
import re
import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from local_cluster.base_image import ensure_base
from local_cluster.builders import BUILD_SECONDS, Buildah, Docker, build_flags, choose_builder
from local_cluster.commands import run

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
# As Linux calls what runs another machine's programs.
_EMULATORS = {"linux/amd64": "qemu-x86_64", "linux/arm64": "qemu-aarch64"}
_BINFMT = Path("/proc/sys/fs/binfmt_misc")
_RUN_FOLDER = Path("/run/voice-agent-release")


@dataclass(frozen=True)
class Build:
    """One image for one platform."""

    context: Path
    reference: str
    """REGISTRY/REPOSITORY:TAG; the builds of one reference become one image."""
    platform: str
    """For example linux/amd64."""
    arguments: Mapping[str, str]
    labels: Mapping[str, str]
    seconds: int
    """When it is to say that it was made, since 1970."""


@dataclass(frozen=True)
class Base:
    """What the images that are `based` start from. `reference`: empty for what each Dockerfile names itself."""

    reference: str = ""
    native_only: bool = False


class ReleaseBuilder(Protocol):
    """Builds first, and names nothing in a registry before `publish`."""

    def base(self) -> Base:
        """Returns what images start from here; makes it, where that is to be made."""

    def platforms(self) -> frozenset[str]:
        """Returns for which platforms it can run programs while it builds."""

    def build(self, build: Build) -> None:
        """Builds. Raises ClusterError with the build's last words."""

    def publish(self, reference: str) -> str:
        """Names what was built in the registry, and returns the digest of the image of all platforms."""


class BuildahBuilder:
    """buildah, whose store has the base images that the local cluster's are built on."""

    def __init__(self, plain_http: bool) -> None:
        self._store = Buildah(_RUN_FOLDER)
        self._tls = f"--tls-verify={'false' if plain_http else 'true'}"
        self._token = secrets.token_hex(4)

    def base(self) -> Base:
        """See ReleaseBuilder."""
        reference = ensure_base(self._store)
        return Base(reference, native_only=reference.startswith("localhost/"))

    def platforms(self) -> frozenset[str]:
        """See ReleaseBuilder."""
        emulated = {name for name, emulator in _EMULATORS.items() if (_BINFMT / emulator).exists()}
        return frozenset({native_platform(), *emulated})

    def build(self, build: Build) -> None:
        """See ReleaseBuilder."""
        # No layers of before: the store takes one platform's for another's. And each is built of what there is now.
        self._store.run(
            *("build", "--isolation=chroot", "--layers=false", f"--platform={build.platform}"),
            *(f"--timestamp={build.seconds}", f"--manifest={self._local_name(build.reference)}"),
            *(f"--label={name}={value}" for name, value in build.labels.items()),
            *build_flags(build.arguments),
            build.context,
        )

    def publish(self, reference: str) -> str:
        """See ReleaseBuilder."""
        local = self._local_name(reference)
        with tempfile.TemporaryDirectory() as folder:
            digest = Path(folder) / "digest"
            push = ("manifest", "push", "--all", self._tls, f"--digestfile={digest}")
            self._store.run(*push, local, f"docker://{reference}")
            self._store.run("manifest", "rm", local)
            return digest.read_text().strip()

    def _local_name(self, reference: str) -> str:
        """Returns how the store calls an image of this release alone: never as something that could be pulled."""
        return f"localhost/voice-agent-release-{self._token}/{reference.rpartition('/')[2]}"


class BuildxBuilder:
    """Docker Buildx, which keeps in each image how it was made (SLSA provenance), and of what."""

    def __init__(self) -> None:
        self._digests: dict[str, list[str]] = {}

    def base(self) -> Base:
        """See ReleaseBuilder."""
        return Base(ensure_base(Docker()))

    def platforms(self) -> frozenset[str]:
        """See ReleaseBuilder."""
        told = run("docker", "buildx", "inspect", "--bootstrap", timeout=BUILD_SECONDS)
        return frozenset(re.findall(r"linux/(?:amd64|arm64)\b", told))

    def build(self, build: Build) -> None:
        """See ReleaseBuilder."""
        repository = build.reference.rpartition(":")[0]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": str(build.seconds)}
        with tempfile.TemporaryDirectory() as folder:
            metadata = Path(folder) / "metadata.json"
            run(
                *("docker", "buildx", "build", f"--platform={build.platform}", "--provenance=mode=max", "--sbom=true"),
                f"--output=type=image,name={repository},push-by-digest=true,name-canonical=true,push=true,"
                "rewrite-timestamp=true",
                f"--metadata-file={metadata}",
                *(f"--label={name}={value}" for name, value in build.labels.items()),
                *build_flags(build.arguments),
                build.context,
                env=environment,
                timeout=BUILD_SECONDS,
            )
            digest = json.loads(metadata.read_text())["containerimage.digest"]
        self._digests.setdefault(build.reference, []).append(f"{repository}@{digest}")

    def publish(self, reference: str) -> str:
        """See ReleaseBuilder."""
        imagetools = ("docker", "buildx", "imagetools")
        run(*imagetools, "create", f"--tag={reference}", *self._digests[reference], timeout=BUILD_SECONDS)
        return run(*imagetools, "inspect", reference, "--format={{.Manifest.Digest}}").strip()


def choose_release_builder(plain_http: bool) -> BuildxBuilder | BuildahBuilder:
    """Returns the one that builds the local cluster's images too: Docker's where a daemon answers, buildah else."""
    return BuildxBuilder() if isinstance(choose_builder(), Docker) else BuildahBuilder(plain_http)


def native_platform() -> str:
    """Returns this machine's own."""
    machine = platform.machine()
    return f"linux/{_ARCHITECTURES.get(machine, machine)}"
