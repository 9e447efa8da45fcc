"""What is decided before anything is built, and what of the chart's values a release writes."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from local_cluster.errors import ClusterError
from local_cluster.images import PAUSE_IMAGE, PROJECT_IMAGES
from release import builders
from release.__main__ import IMAGES, main
from release.builders import Base, Build, BuildahBuilder, BuildxBuilder, native_platform
from release.charts import CHARTS, write_images
from release.images import Released, build_labels, check_platforms
from release.source import Source, check_registry, read_source

DIGEST = "sha256:" + "0123456789abcdef" * 4
SOURCE = Source("1.2.3", "0123abcd", datetime(2026, 11, 28, 12, tzinfo=UTC))
OTHER = "linux/arm64" if native_platform() == "linux/amd64" else "linux/amd64"
OPERATOR = next(image for image in PROJECT_IMAGES if image.name == "operator")


class Runs:
    """A builder that can run programs of these platforms."""

    def __init__(self, *platforms: str) -> None:
        self._platforms = frozenset(platforms)

    def base(self) -> Base:
        raise NotImplementedError

    def platforms(self) -> frozenset[str]:
        return self._platforms

    def build(self, build: Build) -> None:
        raise NotImplementedError

    def publish(self, reference: str) -> str:
        raise NotImplementedError


@pytest.mark.parametrize("version", ["", "1.2", "v1.2.3", "01.2.3", "1.2.3+build", "1.2.3-", "latest"])
def test_what_is_no_version_is_refused(version: str) -> None:
    with pytest.raises(ClusterError, match=r"is no version\. Say VERSION=1\.2\.3"):
        read_source(version)


@pytest.mark.parametrize("registry", ["https://ghcr.io", "ghcr.io/Acme", "ghcr.io/acme/", "two words"])
def test_what_is_no_registry_is_refused(registry: str) -> None:
    with pytest.raises(ClusterError, match="is no registry"):
        check_registry(registry)


@pytest.mark.parametrize("registry", ["ghcr.io/acme", "localhost:5000", "registry.example.com:443/a/b"])
def test_a_registry(registry: str) -> None:
    assert check_registry(registry) == registry


def test_what_is_wrong_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--registry", "ghcr.io/acme", "--version", "next"]) == 1
    assert capsys.readouterr().err.strip().startswith("VERSION=next is no version.")


def test_every_image_that_the_chart_names_is_released() -> None:
    named = yaml.safe_load((CHARTS / "voice-agent/values.yaml").read_text())["images"]
    repositories = {each["repository"] for each in named.values() if isinstance(each, dict) and "repository" in each}
    assert {f"voice-agent-operator/{image.name}" for image in IMAGES} == repositories


def test_platforms_that_cannot_be_built_are_said_before_anything_is() -> None:
    both = [native_platform(), OTHER]
    check_platforms([OPERATOR], both, Runs(*both), Base())
    check_platforms([PAUSE_IMAGE], both, Runs(native_platform()), Base())
    with pytest.raises(ClusterError, match=f"operator cannot be built for {OTHER} here: programs .* PLATFORMS="):
        check_platforms([OPERATOR], both, Runs(native_platform()), Base())
    with pytest.raises(ClusterError, match=f"operator cannot be built for {OTHER} here: the base that debootstrap"):
        check_platforms([OPERATOR], both, Runs(*both), Base("localhost/base:1", native_only=True))


def test_an_image_says_what_is_in_it() -> None:
    postgres = next(image for image in IMAGES if image.name == "postgres")
    labels = build_labels(postgres, SOURCE)
    assert labels["org.opencontainers.image.licenses"] == "PostgreSQL"
    assert "org.opencontainers.image.source" not in labels


def test_values_name_what_was_released_and_keep_their_comments() -> None:
    before = (CHARTS / "voice-agent/values.yaml").read_text()
    released = [
        Released(image, "ghcr.io/acme", f"voice-agent-operator/{image.name}", "1.2.3", DIGEST) for image in IMAGES
    ]
    after = write_images(before, released, "ghcr.io/acme", "1.2.3")
    images = yaml.safe_load(after)["images"]
    assert (images["registry"], images["tag"]) == ("ghcr.io/acme", "1.2.3")
    assert images["digests"] == {f"voice-agent-operator/{image.name}:1.2.3": DIGEST for image in IMAGES}
    gone, come = set(before.splitlines()) - set(after.splitlines()), set(after.splitlines()) - set(before.splitlines())
    assert {line.partition(" #")[0].strip() for line in gone} == {
        "registry: localhost:5000",
        "tag: latest",
        "digests: {}",
    }
    assert {line.partition(" #")[2] for line in gone} == {line.partition(" #")[2] for line in come}


def test_docker_builds_each_platform_unnamed_and_names_all_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def run(*argv: str | Path, **_options: Any) -> str:
        command = [str(part) for part in argv]
        commands.append(command)
        metadata = next((part.partition("=")[2] for part in command if part.startswith("--metadata-file=")), None)
        if metadata:
            platform = next(part for part in command if part.startswith("--platform="))
            Path(metadata).write_text(f'{{"containerimage.digest": "sha256:{platform[-5:]}"}}')
        return f"{DIGEST}\n"

    monkeypatch.setattr(builders, "run", run)
    builder = BuildxBuilder()
    for platform in ("linux/amd64", "linux/arm64"):
        builder.build(Build(tmp_path, "ghcr.io/acme/agent:1.2.3", platform, {"BASE": "b"}, {"l": "1"}, 7))
    assert builder.publish("ghcr.io/acme/agent:1.2.3") == DIGEST
    assert all("push-by-digest=true" in next(part for part in command if "output" in part) for command in commands[:2])
    assert {"--label=l=1", "--build-arg=BASE=b", "--provenance=mode=max", "--sbom=true"} <= set(commands[0])
    assert commands[2][4:] == [
        "--tag=ghcr.io/acme/agent:1.2.3",
        *("ghcr.io/acme/agent@sha256:amd64", "ghcr.io/acme/agent@sha256:arm64"),
    ]


def test_buildah_runs_what_the_kernel_has_an_emulator_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builders, "_BINFMT", tmp_path)
    monkeypatch.setattr(builders, "Buildah", lambda _folder: None)
    assert BuildahBuilder(plain_http=True).platforms() == {native_platform()}
    (tmp_path / ("qemu-aarch64" if native_platform() == "linux/amd64" else "qemu-x86_64")).touch()
    assert BuildahBuilder(plain_http=True).platforms() == {native_platform(), OTHER}


def test_an_image_that_the_values_call_otherwise_is_refused() -> None:
    released = Released(replace(OPERATOR, name="other"), "r", "voice-agent-operator/other", "1.2.3", DIGEST)
    with pytest.raises(ClusterError, match="calls the image other otherwise"):
        write_images((CHARTS / "voice-agent/values.yaml").read_text(), [released], "r", "1.2.3")
