"""Builds and pushes the images that the chart names, each for every platform of the release."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from local_cluster.binaries import ensure
from local_cluster.errors import ClusterError
from local_cluster.images import Image, fill_context
from local_cluster.progress import step
from release.builders import Base, Build, ReleaseBuilder, native_platform
from release.source import Source

# As the chart's values have it.
REPOSITORY_PREFIX = "voice-agent-operator"
# Of what is in an image besides our own files, where its name is that program's.
_LICENSES = {"postgres": "PostgreSQL", "pgbouncer": "ISC"}


@dataclass(frozen=True)
class Released:
    """An image that the registry has: REPOSITORY:TAG, and the digest of what it is for all platforms."""

    image: Image
    registry: str
    repository: str
    tag: str
    digest: str

    @property
    def reference(self) -> str:
        """Returns how to pull exactly this one."""
        return f"{self.registry}/{self.repository}@{self.digest}"


def check_platforms(images: Sequence[Image], platforms: Sequence[str], builder: ReleaseBuilder, base: Base) -> None:
    """Raises ClusterError, before anything is built, where an image cannot be built here for one of the platforms."""
    runs = builder.platforms()
    for platform in platforms:
        for image in images:
            if not image.based or platform == native_platform():
                continue  # nothing of it is run; or it is this machine's own
            if platform not in runs or base.native_only:
                why = "the base that debootstrap made is" if platform in runs else "programs that are run here are"
                raise ClusterError(
                    f"{image.name} cannot be built for {platform} here: {why} {native_platform()}'s. Release where "
                    "Docker Buildx emulates it (docker run --privileged --rm tonistiigi/binfmt --install all), as the "
                    f"workflow does; or for this machine's kind alone: PLATFORMS={native_platform()}."
                )


def build_images(
    images: Sequence[Image],
    platforms: Sequence[str],
    builder: ReleaseBuilder,
    base: Base,
    registry: str,
    source: Source,
) -> None:
    """Builds every image for every platform; the registry knows none of them by name afterwards."""
    targets = [(image, platform) for image in images for platform in platforms]
    for number, (image, platform) in enumerate(targets, 1):
        built = _for_platform(image, platform)
        if built.program is not None:
            ensure([built.program])
        title = f"image {image.name} for {platform}, {number} of {len(targets)}"
        with step(title), tempfile.TemporaryDirectory() as context:
            fill_context(built, Path(context))
            builder.build(
                Build(
                    context=Path(context),
                    reference=_reference(image, registry, source),
                    platform=platform,
                    arguments={"BASE": base.reference} if image.based and base.reference else {},
                    labels=build_labels(image, source),
                    seconds=int(source.committed_at.timestamp()),
                )
            )


def publish_images(images: Sequence[Image], builder: ReleaseBuilder, registry: str, source: Source) -> list[Released]:
    """Names what was built in the registry by the release's version, and returns what there is now."""
    released = []
    for number, image in enumerate(images, 1):
        with step(f"pushing {image.name}, {number} of {len(images)}"):
            digest = builder.publish(_reference(image, registry, source))
        released.append(Released(image, registry, _repository(image), source.version, digest))
    return released


def build_labels(image: Image, source: Source) -> dict[str, str]:
    """Returns the labels by which OCI says what an image is. Two builds of one commit have the same."""
    labels = {
        "title": image.name,
        "version": source.version,
        "revision": source.revision,
        "created": source.committed_at.isoformat(),
        "licenses": _LICENSES.get(image.name, "Apache-2.0"),
    } | ({"source": source.url} if source.url else {})
    return {f"org.opencontainers.image.{name}": value for name, value in labels.items()}


def _for_platform(image: Image, platform: str) -> Image:
    if image.program is None:
        return image
    return replace(image, program=replace(image.program, architecture=platform.rpartition("/")[2]))


def _repository(image: Image) -> str:
    return f"{REPOSITORY_PREFIX}/{image.name}"


def _reference(image: Image, registry: str, source: Source) -> str:
    return f"{registry}/{_repository(image)}:{source.version}"
