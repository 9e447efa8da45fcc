"""Packs `kubectl voice` for krew: an archive for each kind of machine with all that it imports, and the manifest.

An archive has the native parts of its libraries for each Python that it is for: their names tell them apart.
"""

import gzip
import hashlib
import io
import re
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from local_cluster.commands import run
from local_cluster.layout import REPOSITORY, cache_folder
from local_cluster.progress import step
from release.source import Source

NAME = "voice"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
_LOCK = REPOSITORY / "kubectl_voice" / "requirements.lock"
# What `kubectl_voice` stands on; import-linter holds that it is no more.
_PACKAGES = ("kubectl_voice", "operator/conversations", "operator/kube", "operator/voicesession")
_LAUNCHER = Path(__file__).parent / "kubectl-voice"
# Isolated, Python finds libraries beside a folder's __main__ alone; so that starts either program.
_MAIN = """import importlib
import sys

importlib.import_module(f"kubectl_voice.{sys.argv.pop(1)}").main()
"""
_INSTALL_SECONDS = 600.0


@dataclass(frozen=True)
class Platform:
    """A kind of machine, as krew calls it, and as uv does."""

    os: str
    arch: str
    target: str


# glibc 2.28 is Debian 10's and RHEL 8's. For Apple's Intel machines there are no wheels of cryptography any more.
PLATFORMS = (
    Platform("linux", "amd64", "x86_64-manylinux_2_28"),
    Platform("linux", "arm64", "aarch64-manylinux_2_28"),
    Platform("darwin", "arm64", "aarch64-apple-darwin"),
)


@dataclass(frozen=True)
class Archive:
    """A packed plug-in."""

    platform: Platform
    path: Path

    @property
    def sha256(self) -> str:
        """Returns its digest, in hexadecimal."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()


def pack_plugin(
    source: Source, folder: Path, platforms: Iterable[Platform] = PLATFORMS, pythons: Sequence[str] = PYTHONS
) -> list[Archive]:
    """Returns the archives, kubectl-voice-VERSION-OS-ARCH.tar.gz in `folder`.

    Raises:
        ClusterError: a library has no wheel for one of them, or cannot be had.
    """
    archives = []
    for platform in platforms:
        path = folder / f"kubectl-voice-{source.version}-{platform.os}-{platform.arch}.tar.gz"
        with (
            step(f"packing kubectl voice for {platform.os}/{platform.arch}"),
            tempfile.TemporaryDirectory() as scratch,
        ):
            _fill(Path(scratch), platform, pythons)
            _write_archive(Path(scratch), path, int(source.committed_at.timestamp()))
        archives.append(Archive(platform, path))
    return archives


def guess_downloads(source: Source) -> str:
    """Returns the URL of the assets of a GitHub release of this version; empty where the sources are elsewhere."""
    on_github = source.url.startswith("https://github.com/")
    return f"{source.url.rstrip('/')}/releases/download/v{source.version}" if on_github else ""


def build_manifest(archives: Iterable[Archive], source: Source, downloads: str) -> dict[str, Any]:
    """Returns krew's manifest. `downloads`: the URL of the folder that has the archives."""
    return {
        "apiVersion": "krew.googlecontainertools.github.com/v1alpha2",
        "kind": "Plugin",
        "metadata": {"name": NAME},
        "spec": {
            "version": f"v{source.version}",
            "homepage": source.url or downloads,
            "shortDescription": "Live voice calls, and what is wrong with them",
            "description": (
                "For whoever runs a release of voice-agent-operator: which calls wait and why, how fast agents "
                "answer, the story of one call with a verdict, and what is wrong with an installation."
            ),
            "caveats": f"Needs Python {PYTHONS[0]} to {PYTHONS[-1]} on the PATH; on Linux, glibc 2.28 or later.",
            "platforms": [
                {
                    "selector": {"matchLabels": {"os": each.platform.os, "arch": each.platform.arch}},
                    "uri": f"{downloads}/{each.path.name}",
                    "sha256": each.sha256,
                    "bin": _LAUNCHER.name,
                }
                for each in archives
            ],
        },
    }


def write_manifest(manifest: Mapping[str, Any], folder: Path) -> Path:
    """Writes krew's manifest into `folder`, and returns its path."""
    path = folder / f"{NAME}.yaml"
    path.write_text(yaml.safe_dump(manifest, sort_keys=False, width=100))
    return path


def _fill(folder: Path, platform: Platform, pythons: Sequence[str]) -> None:
    library = folder / "lib"
    _install(library, platform, pythons[0], _LOCK.read_text())
    native = read_native(library)
    for python in pythons[1:]:
        with tempfile.TemporaryDirectory() as scratch:
            _install(Path(scratch), platform, python, choose_locked(_LOCK.read_text(), native))
            shutil.copytree(scratch, library, dirs_exist_ok=True)
    shutil.rmtree(library / "bin", ignore_errors=True)  # programs of libraries, for this machine
    for package in _PACKAGES:
        copied = library / Path(package).name
        shutil.copytree(REPOSITORY / package, copied, ignore=shutil.ignore_patterns("__pycache__"))
    (library / "__main__.py").write_text(_MAIN)
    shutil.copy(REPOSITORY / "LICENSE", folder)
    for name in (_LAUNCHER.name, "kubectl_complete-voice"):
        shutil.copy(_LAUNCHER, folder / name)
        (folder / name).chmod(0o755)


def _install(folder: Path, platform: Platform, python: str, lock: str) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as locked:
        locked.write(lock)
        locked.flush()
        run(
            *(_ensure_uv(), "pip", "install", "--quiet", "--target", folder),
            *("--python", sys.executable, "--python-platform", platform.target, "--python-version", python),
            *("--no-deps", "--require-hashes", "--only-binary", ":all:", "--requirements", locked.name),
            timeout=_INSTALL_SECONDS,
        )


def _ensure_uv() -> Path:
    """Returns uv, which takes other machines' wheels; where `make lock` has it, too."""
    folder = cache_folder() / "uv"
    if not (folder / "bin" / "uv").exists():
        run(sys.executable, "-m", "venv", folder)
        run(folder / "bin" / "pip", "install", "--quiet", "uv", timeout=_INSTALL_SECONDS)
    return folder / "bin" / "uv"


def read_native(library: Path) -> set[str]:
    """Returns the names of the libraries in this folder that are built for one Python alone."""
    found = set()
    for wheel in library.glob("*.dist-info/WHEEL"):
        if re.search(r"(?m)^Tag: cp3\d+-cp3\d+-", wheel.read_text()):
            found.add(_normalize(wheel.parent.name.partition("-")[0]))
    return found


def choose_locked(lock: str, names: Iterable[str]) -> str:
    """Returns those entries of a lock file that pin these libraries."""
    wanted = set(names)
    entries = re.split(r"(?m)^(?=\S+==)", lock)
    return "".join(entry for entry in entries if _normalize(entry.partition("==")[0]) in wanted)


def _normalize(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _write_archive(folder: Path, path: Path, seconds: int) -> None:
    """Packs a folder, the same twice to the byte. `seconds`: when all in it was made, since 1970."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for each in sorted(folder.rglob("*")):
            if each.is_dir():
                continue
            member = archive.gettarinfo(each, str(each.relative_to(folder)))
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mtime = seconds
            member.mode = 0o755 if member.mode & 0o100 else 0o644
            with each.open("rb") as content:
                archive.addfile(member, content)
    path.write_bytes(gzip.compress(packed.getvalue(), mtime=seconds))
