"""A release into a real registry, of one small image for two platforms; and what is refused before anything is made."""

import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from local_cluster.errors import ClusterError
from local_cluster.images import PAUSE_IMAGE, Image
from release.__main__ import Release
from release.source import Source, read_source
from testing.chart import Raw, run_helm
from testing.registry import read_blob, read_manifest, running_registry

# The chart's LiveKit in name; a program that is built in seconds, for any machine, and FROM scratch.
SMALL = Image("livekit", PAUSE_IMAGE.dockerfile, program=PAUSE_IMAGE.program, based=False, chart_key="livekit")
REPOSITORY = "voice-agent-operator/livekit"
SOURCE = Source("1.2.3", "0123abcd", datetime(2026, 11, 28, 12, tzinfo=UTC), "https://git.example.com/voice")
NAMESPACE = "released"


def release_to(registry: str, folder: Path) -> Release:
    return Release(SOURCE, registry, folder, images=[SMALL], plain_http=True, bills=False, plugins=())


@pytest.fixture(scope="module")
def registry() -> Iterator[str]:
    with running_registry() as address:
        yield address


@pytest.fixture(scope="module")
def told(registry: str, tmp_path_factory: pytest.TempPathFactory) -> Raw:
    """What the release says of itself."""
    folder = tmp_path_factory.mktemp("release")
    release_to(registry, folder).make()
    read: Raw = json.loads((folder / "release.json").read_text())
    assert (folder / "voice-agent-1.2.3.tgz").exists()
    return read


def test_an_image_is_for_both_kinds_of_machines_and_says_what_it_is(registry: str, told: Raw) -> None:
    digest = told["images"]["livekit"].rpartition("@")[2]
    index = read_manifest(registry, REPOSITORY, "1.2.3")
    assert read_manifest(registry, REPOSITORY, digest) == index
    platforms = [each["platform"] for each in index["manifests"]]
    assert [each["architecture"] for each in platforms] == ["amd64", "arm64"]
    for each in index["manifests"]:
        manifest = read_manifest(registry, REPOSITORY, each["digest"])
        config = read_blob(registry, REPOSITORY, manifest["config"]["digest"])
        assert config["architecture"] == each["platform"]["architecture"]
        assert config["created"] == "2026-11-28T12:00:00Z"
        labels = {key: value for key, value in config["config"]["Labels"].items() if key.startswith("org.opencont")}
        assert labels == {
            "org.opencontainers.image.title": "livekit",
            "org.opencontainers.image.version": "1.2.3",
            "org.opencontainers.image.revision": "0123abcd",
            "org.opencontainers.image.created": "2026-11-28T12:00:00+00:00",
            "org.opencontainers.image.licenses": "Apache-2.0",
            "org.opencontainers.image.source": "https://git.example.com/voice",
        }


def test_another_build_of_the_same_commit_is_the_same_image(told: Raw, tmp_path: Path) -> None:
    with running_registry() as another:
        release_to(another, tmp_path).make()
    again = json.loads((tmp_path / "release.json").read_text())["images"]["livekit"]
    assert again.rpartition("@")[2] == told["images"]["livekit"].rpartition("@")[2]


def test_what_is_released_stays_as_it_is(registry: str, told: Raw, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"1\.2\.3 is released: .*/charts/voice-agent has it\. Say another VERSION"):
        release_to(registry, tmp_path).make()


def test_two_commands_install_it(registry: str, told: Raw, api_server: Path) -> None:
    """As the README says them; no pod runs here."""
    helm = ("upgrade", "--install", "--version", "1.2.3", "--plain-http")
    charts = f"oci://{registry}/charts"
    run_helm(*helm, "voice-agent-crds", f"{charts}/voice-agent-crds", "--take-ownership", kubeconfig=api_server)
    own = ("--namespace", NAMESPACE, "--create-namespace", "--no-hooks")
    values = {"livekit": {"publicUrl": "ws://livekit.example.com", "nodeSelector": {"voice": "yes"}}}
    try:
        run_helm(*helm, "voice", f"{charts}/voice-agent", *own, values=values, kubeconfig=api_server)
        manifest = run_helm("get", "manifest", "voice", "-n", NAMESPACE, kubeconfig=api_server)
    finally:
        run_helm("uninstall", "voice", "-n", NAMESPACE, "--no-hooks", "--ignore-not-found", kubeconfig=api_server)
        run_helm("uninstall", "voice-agent-crds", "--ignore-not-found", kubeconfig=api_server)
    made = {item["metadata"]["name"]: item for item in yaml.safe_load_all(manifest) if item["kind"] == "Deployment"}
    images = {
        name.removeprefix("voice-voice-agent-"): item["spec"]["template"]["spec"]["containers"][0]["image"]
        for name, item in made.items()
    }
    assert images["livekit"] == told["images"]["livekit"]
    assert images["operator"] == f"{registry}/voice-agent-operator/operator:1.2.3"  # which was not released here
    versions = {item["metadata"]["labels"]["app.kubernetes.io/version"] for item in made.values()}
    assert versions == {"1.2.3"}


@pytest.mark.parametrize("change", ["a changed file", "a new file"])
def test_what_no_commit_holds_is_not_released(tmp_path: Path, change: str) -> None:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.com")
    (tmp_path / "a").write_text("one")
    for command in (("init", "--quiet"), ("add", "a"), (*identity, "commit", "--quiet", "-m", "one")):
        subprocess.run(["git", *command], cwd=tmp_path, check=True, timeout=30)
    assert len(read_source("1.2.3", checkout=tmp_path).revision) == 40
    (tmp_path / ("a" if change == "a changed file" else "b")).write_text("two")
    with pytest.raises(ClusterError, match="Not all of this checkout is committed"):
        read_source("1.2.3", checkout=tmp_path)
