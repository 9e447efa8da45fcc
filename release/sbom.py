"""Writes what is in an image, package by package, as SPDX: Debian's, Python's and Go's, found by syft."""

import os
from pathlib import Path

from local_cluster.binaries import Program, ensure
from local_cluster.commands import run
from local_cluster.progress import step
from release.images import Released

SYFT = Program(
    name="syft",
    version="1.57.1",
    package="github.com/anchore/syft/cmd/syft",
    built_in="about 5 minutes on 2 cores",
)
_SCAN_SECONDS = 900.0


def write_sbom(released: Released, platform: str, folder: Path, plain_http: bool) -> Path:
    """Looks at what the registry has, and returns the file: NAME-linux-ARCHITECTURE.spdx.json in `folder`."""
    ensure([SYFT])
    path = folder / f"{released.image.name}-{platform.replace('/', '-')}.spdx.json"
    environment = {**os.environ, "SYFT_CHECK_FOR_APP_UPDATE": "false"}
    if plain_http:
        environment["SYFT_REGISTRY_INSECURE_USE_HTTP"] = "true"
    with step(f"bill of materials of {released.image.name} for {platform}"):
        run(
            *(SYFT.path(), "scan", f"registry:{released.reference}", f"--platform={platform}"),
            *(f"--source-name={released.image.name}", f"--source-version={released.tag}"),
            *("--quiet", f"--output=spdx-json={path}"),
            env=environment,
            timeout=_SCAN_SECONDS,
        )
    return path
