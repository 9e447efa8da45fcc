"""The command line: `python -m release --registry HOST --version 1.2.3`; `make release` says it."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from local_cluster.errors import ClusterError
from local_cluster.images import PROJECT_IMAGES, Image
from local_cluster.layout import REPOSITORY
from local_cluster.progress import say
from release.builders import Base, choose_release_builder
from release.charts import check_unreleased, package_charts, push_chart
from release.images import Released, build_images, check_platforms, publish_images
from release.plugin import PLATFORMS as PLUGIN_PLATFORMS
from release.plugin import Platform, build_manifest, guess_downloads, pack_plugin, write_manifest
from release.sbom import write_sbom
from release.source import Source, check_registry, read_source

# What the chart names.
IMAGES = tuple(image for image in PROJECT_IMAGES if image.chart_key)
PLATFORMS = ("linux/amd64", "linux/arm64")


@dataclass(frozen=True)
class Release:
    """What is to be released, and where to. `folder`: what is kept of it here."""

    source: Source
    registry: str
    folder: Path
    images: Sequence[Image] = IMAGES
    platforms: Sequence[str] = PLATFORMS
    plain_http: bool = False
    bills: bool = True
    """Whether bills of material are written."""
    plugins: Sequence[Platform] = PLUGIN_PLATFORMS
    """For which machines `kubectl voice` is packed."""
    downloads: str = ""
    """The URL of the folder from which the packed plug-ins will be had; empty where that is not known."""

    def make(self) -> None:
        """Builds all, then pushes the images, and the chart as the last: what is half done has no name.

        Raises:
            ClusterError: with a way out. Run again, it goes on.
        """
        check_unreleased(self.registry, self.source.version, self.plain_http)
        builder = choose_release_builder(self.plain_http)
        base = builder.base() if any(image.based for image in self.images) else Base()
        check_platforms(self.images, self.platforms, builder, base)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._pack_plugins()
        build_images(self.images, self.platforms, builder, base, self.registry, self.source)
        released = publish_images(self.images, builder, self.registry, self.source)
        for each in released if self.bills else ():
            for platform in self.platforms:
                write_sbom(each, platform, self.folder, self.plain_http)
        packed = package_charts(released, self.registry, self.source.version, self.folder)
        charts = [push_chart(each, self.registry, self.plain_http) for each in packed]
        self._tell(released, charts)

    def _pack_plugins(self) -> None:
        archives = pack_plugin(self.source, self.folder, self.plugins)
        if archives and self.downloads:
            write_manifest(build_manifest(archives, self.source, self.downloads), self.folder)
        elif archives:
            say("Without DOWNLOADS=https://... there is no manifest for krew: it names where the archives are.")

    def _tell(self, released: Sequence[Released], charts: Sequence[str]) -> None:
        images = {each.image.name: each.reference for each in released}
        told = {
            "version": self.source.version,
            "revision": self.source.revision,
            "platforms": list(self.platforms),
            "images": images,
            "charts": list(charts),
        }
        (self.folder / "release.json").write_text(json.dumps(told, indent=2) + "\n")
        say(f"\n{self.source.version} is released; {self.folder} has bills of material, packed charts, kubectl voice")
        for reference in [*images.values(), *charts]:
            say(f"  {reference}")
        charts_at = f"oci://{self.registry}/charts"
        say("Install it with:")
        say(
            f"  helm upgrade --install voice-agent-crds {charts_at}/voice-agent-crds --version {self.source.version} "
            "--take-ownership"
        )
        say(
            f"  helm upgrade --install voice {charts_at}/voice-agent --version {self.source.version} "
            "--namespace voice --create-namespace"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Makes the release and returns the exit code; what goes wrong is said in a sentence."""
    given = _build_parser().parse_args(arguments)
    try:
        source = read_source(given.version, given.source)
        registry = check_registry(given.registry)
        folder = REPOSITORY / "dist" / f"release-{source.version}"
        plain_http = given.plain_http or registry.startswith(("localhost:", "127.0.0.1:"))
        downloads = given.downloads or guess_downloads(source)
        Release(source, registry, folder, platforms=given.platforms, plain_http=plain_http, downloads=downloads).make()
    except ClusterError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped: no chart names what was pushed. Run the same command again.", file=sys.stderr)
        return 130
    return 0


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m release", description="Releases the images and the charts.")
    parser.add_argument("--registry", required=True, help="HOST, or HOST:PORT/FOLDER, that you are logged in to")
    parser.add_argument("--version", required=True, help="for example 1.2.3")
    parser.add_argument("--source", default="", metavar="URL", help="where the sources are, for the images' labels")
    parser.add_argument(
        "--downloads",
        default="",
        metavar="URL",
        help="the folder from which the packed kubectl voice will be had; default: the tag's release, where the "
        "sources are on GitHub",
    )
    parser.add_argument("--plain-http", action="store_true", help="the registry has no TLS, as one on localhost")
    parser.add_argument(
        "--platforms",
        type=lambda text: tuple(text.split(",")),
        default=PLATFORMS,
        help="for which machines, separated by commas; default: " + ",".join(PLATFORMS),
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
