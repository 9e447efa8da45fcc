"""Packages the charts as a release names its images, and pushes them."""

import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import yaml

from local_cluster.binaries import HELM, ensure
from local_cluster.commands import run, succeeds
from local_cluster.errors import ClusterError
from local_cluster.layout import REPOSITORY
from local_cluster.progress import step
from release.images import Released

CHARTS = REPOSITORY / "charts"
# The CRDs first: whoever installs the other one of this version has to have them.
NAMES = ("voice-agent-crds", "voice-agent")


def check_unreleased(registry: str, version: str, plain_http: bool) -> None:
    """Raises ClusterError where the registry has this version of the chart already: what is released stays as it is."""
    ensure([HELM])
    chart = f"oci://{registry}/charts/{NAMES[-1]}"
    if succeeds(HELM.path(), "show", "chart", chart, "--version", version, *_flags(plain_http)):
        raise ClusterError(f"{version} is released: {chart} has it. Say another VERSION.")


def package_charts(released: Sequence[Released], registry: str, version: str, folder: Path) -> list[Path]:
    """Returns the packed charts, NAME-VERSION.tgz in `folder`, in the order in which to push them."""
    ensure([HELM])
    packed = []
    for name in NAMES:
        with tempfile.TemporaryDirectory() as scratch:
            chart = Path(scratch) / name
            shutil.copytree(CHARTS / name, chart)  # follows links: whoever gets it has no other chart beside it
            _write_version(chart / "Chart.yaml", version)
            values = chart / "values.yaml"
            if "images" in yaml.safe_load(values.read_text()):
                values.write_text(write_images(values.read_text(), released, registry, version))
            with step(f"packing the chart {name}"):
                run(HELM.path(), "lint", "--strict", chart)
                run(HELM.path(), "package", chart, "--destination", folder)
        packed.append(folder / f"{name}-{version}.tgz")
    return packed


def push_chart(packed: Path, registry: str, plain_http: bool) -> str:
    """Pushes one chart; returns REGISTRY/charts/NAME@DIGEST."""
    name = next(name for name in NAMES if packed.name.startswith(f"{name}-") and packed.name[len(name) + 1].isdigit())
    with step(f"pushing the chart {name}"):
        # It tells the digest where it tells what went wrong.
        merged = ("sh", "-c", 'exec "$@" 2>&1', "sh")
        told = run(*merged, HELM.path(), "push", packed, f"oci://{registry}/charts", *_flags(plain_http))
    digest = re.search(r"sha256:[0-9a-f]{64}", told)
    if digest is None:
        raise ClusterError(f"helm pushed the chart and told no digest:\n{told}")
    return f"{registry}/charts/{name}@{digest[0]}"


def write_images(values: str, released: Sequence[Released], registry: str, version: str) -> str:
    """Returns the text of values.yaml with what a release's images are called; its comments stay."""
    digests = "".join(f"\n    {each.repository}:{each.tag}: {each.digest}" for each in released)
    for key, said in {"registry": f" {registry}", "tag": f' "{version}"', "digests": digests}.items():
        values, found = re.subn(rf"(?m)^(  {key}:) [^#\n]*?( #.*)?$", rf"\g<1>{said}\g<2>", values, count=1)
        if not found:
            raise ClusterError(f"values.yaml has no images.{key}.")
    known = yaml.safe_load(values)["images"]
    unknown = [each.image.name for each in released if known[each.image.chart_key]["repository"] != each.repository]
    if unknown:
        raise ClusterError(f"values.yaml calls the image {unknown[0]} otherwise.")
    return values


def _write_version(path: Path, version: str) -> None:
    path.write_text(re.sub(r"(?m)^(version|appVersion): .*$", rf'\1: "{version}"', path.read_text()))


def _flags(plain_http: bool) -> tuple[str, ...]:
    return ("--plain-http",) if plain_http else ()
