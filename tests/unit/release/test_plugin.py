"""What krew is told of `kubectl voice`, and which libraries are taken once more for each Python."""

import hashlib
import re
import tomllib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from local_cluster.layout import REPOSITORY
from release.plugin import PLATFORMS, PYTHONS, Archive, build_manifest, choose_locked, guess_downloads, read_native
from release.source import Source

SOURCE = Source("1.2.3-rc.1", "abc", datetime(2026, 1, 1, tzinfo=UTC), "https://github.com/acme/voice")


def test_the_manifest_is_what_krew_takes(tmp_path: Path) -> None:
    """By the rules of its index: sigs.k8s.io/krew/internal/index/validation."""
    archives = []
    for platform in PLATFORMS:
        path = tmp_path / f"kubectl-voice-1.2.3-rc.1-{platform.os}-{platform.arch}.tar.gz"
        path.write_text(platform.arch)
        archives.append(Archive(platform, path))
    manifest = build_manifest(archives, SOURCE, guess_downloads(SOURCE))
    assert (manifest["apiVersion"], manifest["kind"]) == ("krew.googlecontainertools.github.com/v1alpha2", "Plugin")
    assert re.fullmatch(r"[\w-]+", manifest["metadata"]["name"])
    spec = manifest["spec"]
    assert spec["version"] == "v1.2.3-rc.1"
    assert 0 < len(spec["shortDescription"]) <= 50
    assert "\n" not in spec["shortDescription"]
    machines = [each["selector"]["matchLabels"] for each in spec["platforms"]]
    assert len({(each["os"], each["arch"]) for each in machines}) == len(PLATFORMS)
    for each, archive in zip(spec["platforms"], archives, strict=True):
        assert each["uri"] == f"https://github.com/acme/voice/releases/download/v1.2.3-rc.1/{archive.path.name}"
        assert each["sha256"] == hashlib.sha256(archive.path.read_bytes()).hexdigest()
        assert each["bin"] == "kubectl-voice"


def test_where_sources_are_elsewhere_nobody_guesses_where_archives_will_be() -> None:
    assert guess_downloads(replace(SOURCE, url="https://git.example.com/voice")) == ""


def test_libraries_that_are_built_for_one_python_are_taken_for_each(tmp_path: Path) -> None:
    tags = {
        "pydantic_core-2.5.dist-info": "cp311-cp311-manylinux_2_17_x86_64",
        "cryptography-50.dist-info": "cp311-abi3-manylinux_2_28_x86_64",
        "rich-15.dist-info": "py3-none-any",
    }
    for folder, tag in tags.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "WHEEL").write_text(f"Wheel-Version: 1.0\nTag: {tag}\n")
    assert read_native(tmp_path) == {"pydantic-core"}
    lock = (
        "cryptography==50 \\\n    --hash=sha256:a\n    # via x\npydantic-core==2.5 \\\n    --hash=sha256:b\nrich==15\n"
    )
    assert choose_locked(lock, {"pydantic-core"}) == "pydantic-core==2.5 \\\n    --hash=sha256:b\n"


def test_the_launcher_takes_the_pythons_that_the_libraries_are_for() -> None:
    launcher = (REPOSITORY / "release" / "kubectl-voice").read_text()
    first, last = (f"(3, {python.partition('.')[2]})" for python in (PYTHONS[0], PYTHONS[-1]))
    assert f"{first} <= sys.version_info[:2] <= {last}" in launcher
    assert f"needs Python {PYTHONS[0]} to {PYTHONS[-1]} on the PATH" in launcher
    assert all(f"python{python}" in launcher for python in PYTHONS)
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == f">={PYTHONS[0]}"
