"""The project's images: what they are made of, under tags that say it; builds and pushes what is new."""

import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from local_cluster.binaries import COREDNS, LIVEKIT, PAUSE, Program, ensure
from local_cluster.builders import Builder
from local_cluster.layout import IMAGE_PREFIX, PACKAGE, REPOSITORY
from local_cluster.progress import step
from local_cluster.registry import has

_IGNORED = {"__pycache__", "node_modules", ".mypy_cache"}


@dataclass(frozen=True)
class Image:
    """One image: its Dockerfile, and what of the repository and of the built programs it is made of."""

    name: str
    dockerfile: Path
    paths: tuple[str, ...] = ()
    """Files and folders of the repository that the Dockerfile copies, at the same places."""
    program: Program | None = None
    """A Go program that the Dockerfile copies from the top of its context."""
    based: bool = True
    """Whether it starts from BASE; else from nothing."""
    chart_key: str | None = None
    """The chart's value below `images` that names it."""
    beside: tuple[str, ...] = ()
    """Files that lie beside the Dockerfile and are copied from the top of its context."""
    optional_folders: tuple[str, ...] = ()
    """As `paths`; empty where they do not exist."""
    on_agent: bool = False
    """Whether it starts from our agent image, as a team's own agents do."""


PAUSE_IMAGE = Image("pause", PACKAGE / "images/pause/Dockerfile", program=PAUSE, based=False)
COREDNS_IMAGE = Image("coredns", PACKAGE / "images/coredns/Dockerfile", program=COREDNS, based=False)
PROJECT_IMAGES = (
    Image(
        "operator",
        REPOSITORY / "operator/Dockerfile",
        paths=(
            "operator/requirements.lock",
            "operator/voicesession",
            "operator/voice_telemetry",
            "operator/conversations",
            "operator/kube",
            "operator/rooms",
            "operator/token_service",
            "operator/voice_operator",
        ),
        optional_folders=("web/dist",),
        chart_key="operator",
    ),
    Image(
        "agent",
        REPOSITORY / "agent_image/Dockerfile",
        paths=(
            "agent_image/requirements.lock",
            "agent_image/voice_agent",
            "operator/voicesession",
            "operator/voice_telemetry",
        ),
        chart_key="agent",
    ),
    Image(
        "local-models",
        REPOSITORY / "local_models/Dockerfile",
        paths=("local_models", "operator/voice_telemetry"),
        chart_key="localModels",
    ),
    Image(
        "example-agents",
        REPOSITORY / "examples/agents/Dockerfile",
        based=False,
        beside=("pizza.py",),
        on_agent=True,
    ),
    Image("livekit", PACKAGE / "images/livekit/Dockerfile", program=LIVEKIT, chart_key="livekit"),
    Image("postgres", PACKAGE / "images/postgres/Dockerfile", beside=("entrypoint.sh",), chart_key="postgres"),
    Image("pgbouncer", PACKAGE / "images/pgbouncer/Dockerfile", chart_key="pgbouncer"),
)


def tag(image: Image, base: str) -> str:
    """Changes whenever the image's content would: its files, its Dockerfile, its program or its base."""
    digest = hashlib.sha256((base if image.based else "scratch").encode())
    digest.update(image.dockerfile.read_bytes())
    if image.on_agent:
        digest.update(_agent_reference(base).encode())
    if image.program is not None:
        digest.update(image.program.key().encode())
    for name in image.beside:
        digest.update((image.dockerfile.parent / name).read_bytes())
    for source in _sources(image):
        for file in _files(source):
            digest.update(f"{file.relative_to(REPOSITORY)} {file.stat().st_mode & 0o111}\n".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def reference(image: Image, base: str = "") -> str:
    """How nodes and charts call the image as it is now."""
    return f"{IMAGE_PREFIX}/{image.name}:{tag(image, base)}"


def is_pushed(image: Image, registry: str, base: str = "") -> bool:
    """Whether the registry (host:port) has the image as it is now."""
    host_and_path, _, wanted = reference(image, base).rpartition(":")
    return has(registry, host_and_path.split("/", 1)[1], wanted)


def ensure_built(image: Image, builder: Builder, base: str = "") -> None:
    """Builds the image, with the program in it, unless the builder has kept it. Raises ClusterError when it fails."""
    wanted = reference(image, base)
    if builder.has(wanted):
        return
    if image.program is not None:
        ensure([image.program])
    with step(f"image {image.name}"), tempfile.TemporaryDirectory() as context:
        fill_context(image, Path(context))
        builder.build(Path(context), wanted, _arguments(image, base))


def ensure_pushed(image: Image, builder: Builder, registry: str, base: str = "") -> None:
    """Gives the registry (host:port) the image unless it has it; builds it if need be. Raises ClusterError."""
    if not is_pushed(image, registry, base):
        ensure_built(image, builder, base)
        builder.push(reference(image, base), registry)


def _agent_reference(base: str) -> str:
    return reference(next(image for image in PROJECT_IMAGES if image.name == "agent"), base)


def _arguments(image: Image, base: str) -> dict[str, str]:
    if image.on_agent:
        return {"AGENT_IMAGE": _agent_reference(base)}
    return {"BASE": base} if image.based and base else {}


def fill_context(image: Image, context: Path) -> None:
    """Writes what the image's Dockerfile copies, and itself, into an empty folder."""
    shutil.copy(image.dockerfile, context / "Dockerfile")
    if image.program is not None:
        shutil.copy(image.program.path(), context / image.program.name)
    for name in image.beside:
        shutil.copy2(image.dockerfile.parent / name, context / name)
    for name in image.optional_folders:
        (context / name).mkdir(parents=True)
    for source in _sources(image):
        target = context / source.relative_to(REPOSITORY)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns(*_IGNORED), dirs_exist_ok=True)
        else:
            shutil.copy2(source, target)


def _sources(image: Image) -> list[Path]:
    optional = [REPOSITORY / path for path in image.optional_folders if (REPOSITORY / path).exists()]
    return [*(REPOSITORY / path for path in image.paths), *optional]


def _files(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    return sorted(path for path in source.rglob("*") if path.is_file() and not _IGNORED.intersection(path.parts))
