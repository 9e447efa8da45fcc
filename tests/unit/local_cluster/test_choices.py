"""What is decided before a cluster is touched: which one, how many nodes, which images under which tags."""

import socket
from pathlib import Path

import pytest

from local_cluster import binaries, host_network, images, node
from local_cluster.__main__ import main
from local_cluster.binaries import HELM_VERSION, KUBERNETES, KUBERNETES_VERSION, Program
from local_cluster.errors import ClusterError
from local_cluster.images import PAUSE_IMAGE, PROJECT_IMAGES, Image, reference, tag
from local_cluster.provider import choose_provider, wanted_nodes


@pytest.mark.parametrize("name", ["kind", "netns", "current"])
def test_provider_is_the_one_asked_for(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """CLUSTER names it."""
    monkeypatch.setenv("CLUSTER", name)
    assert choose_provider().name == name


def test_unknown_provider_is_refused_with_the_known_ones(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sentence and exit code 1, no traceback."""
    monkeypatch.setenv("CLUSTER", "minikube")
    assert main(["status"]) == 1
    assert "Say CLUSTER=auto, kind, netns or current." in capsys.readouterr().err


@pytest.mark.parametrize("text", ["0", "4", "two", "-1"])
def test_impossible_number_of_nodes_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """NODES is 1, 2 or 3."""
    monkeypatch.setenv("NODES", text)
    with pytest.raises(ClusterError, match="Say NODES=1, 2 or 3"):
        wanted_nodes()


@pytest.mark.parametrize("text", ["", "1"])
def test_one_node_by_default(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """An empty variable, as make exports it, is none."""
    monkeypatch.setenv("NODES", text)
    assert wanted_nodes() == 1


def test_unknown_image_is_refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is built."""
    monkeypatch.setenv("CLUSTER", "netns")
    assert main(["images", "agnet"]) == 1
    assert "There is no image agnet. There are: operator, agent," in capsys.readouterr().err


def test_used_address_range_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence says which range, where, and what else to do."""
    monkeypatch.setattr(host_network, "run", lambda *_: '[{"dst": "default"}, {"dst": "10.244.8.0/22", "dev": "wg0"}]')
    with pytest.raises(ClusterError, match=r"10\.244\.8\.0/22 is in use here \(on wg0\).*CLUSTER=kind"):
        host_network.check_free()


@pytest.mark.parametrize("listening_on", ["0.0.0.0", "127.0.0.1"])  # noqa: S104
def test_used_port_is_named(monkeypatch: pytest.MonkeyPatch, listening_on: str) -> None:
    """Also when its holder listens on every address, and the cluster's own does not exist yet."""
    with socket.create_server((listening_on, 0)) as listener:
        port = listener.getsockname()[1]
        address = "127.0.0.1" if listening_on == "127.0.0.1" else "10.245.0.1"
        monkeypatch.setattr(host_network, "PORTS", ((address, port),))
        monkeypatch.setattr(host_network, "run", lambda *_: "[]")
        with pytest.raises(ClusterError, match=f"Port {port} on {address} is in use: `ss -ltnp"):
            host_network.check_free()
    host_network.check_free()


def test_tag_follows_the_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another word in a file, in the Dockerfile, or another base: another tag. The same content: the same tag."""
    monkeypatch.setattr(images, "REPOSITORY", tmp_path)
    (tmp_path / "code").mkdir()
    (tmp_path / "code/a.py").write_text("a = 1\n")
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    image = Image("x", tmp_path / "Dockerfile", paths=("code",))
    first = tag(image, "base:1")

    (tmp_path / "code/__pycache__").mkdir()
    (tmp_path / "code/__pycache__/a.pyc").write_text("noise")
    assert tag(image, "base:1") == first
    tags = {first, tag(image, "base:2")}
    (tmp_path / "code/a.py").write_text("a = 2\n")
    tags.add(tag(image, "base:1"))
    (tmp_path / "Dockerfile").write_text("FROM scratch\nUSER 1\n")
    tags.add(tag(image, "base:1"))
    assert len(tags) == 4


def test_every_chart_image_has_a_key_and_a_reference() -> None:
    """The chart's values are generated from these."""
    keys = {image.chart_key for image in PROJECT_IMAGES if image.chart_key}
    assert keys == {"operator", "agent", "localModels", "livekit", "postgres", "pgbouncer"}
    assert reference(PAUSE_IMAGE).startswith("localhost:5000/voice-agent-operator/pause:")


def test_program_key_follows_version_flags_and_what_it_is_built_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What differs is built anew, beside the old one; another program's file in our module changes nothing."""
    monkeypatch.setattr(binaries, "MODULE", tmp_path)
    for name in ("go.mod", "go.sum", "x/main.go", "y/main.go"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)

    def key(version: str = "1", flags: str = "a") -> str:
        return Program("x", version, "./x", of_module=True, linker_flags=flags).key()

    keys = {key(version, flags) for version in "12" for flags in "ab"}
    (tmp_path / "y/main.go").write_text("changed")
    assert key() in keys
    for name in ("go.mod", "x/main.go"):
        (tmp_path / name).write_text("changed")
        keys.add(key())
    assert len(keys) == 6
    assert KUBERNETES.path("kubectl").parent == KUBERNETES.path("kubelet").parent


@pytest.mark.parametrize(
    ("module", "version"), [("k8s.io/kubernetes", KUBERNETES_VERSION), ("helm.sh/helm/v3", HELM_VERSION)]
)
def test_programs_of_our_module_have_the_versions_that_it_says(module: str, version: str) -> None:
    assert f"\t{module} v{version}\n" in (binaries.MODULE / "go.mod").read_text().replace(" // indirect", "")


def test_loopback_name_servers_are_kept_from_pods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod that asks 127.0.0.53 asks itself."""
    file = tmp_path / "resolv.conf"
    file.write_text("search example\nnameserver 127.0.0.53\nnameserver ::1\nnameserver 192.0.2.53\n")
    monkeypatch.setattr(node, "RESOLV_CONFS", (tmp_path / "absent", file))
    assert node.build_resolv_conf() == "search example\nnameserver 192.0.2.53\n"
