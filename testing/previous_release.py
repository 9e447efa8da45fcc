"""The release before this one: its chart and its images, made of the repository's own history."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from local_cluster.commands import run, succeeds
from local_cluster.layout import REPOSITORY

# From what one upgrades. Each release moves it to the commit of the one before.
COMMIT = "dd94052"
# What the chart runs; the examples are no part of it.
_IMAGES = ("operator", "agent", "local-models", "livekit", "postgres", "pgbouncer")
_BUILD_SECONDS = 1200.0


@dataclass(frozen=True)
class PreviousRelease:
    """Its repository, unpacked in a folder."""

    folder: Path

    @property
    def chart(self) -> Path:
        """Where its chart is."""
        return self.folder / "charts" / "voice-agent"

    @property
    def images(self) -> Path:
        """The values that name its images, once they are built."""
        return self.folder / ".cluster" / "images.yaml"

    def image_of(self, component: str) -> dict[str, Any]:
        """Returns the chart's values for the image of a component, once they are built."""
        values: dict[str, Any] = yaml.safe_load(self.images.read_text())
        return values["images"][component]  # type: ignore[no-any-return]

    def build_images(self) -> None:
        """Builds its images, but for those that there are already, and gives them to the cluster.

        Raises:
            ClusterError: one was not built.
        """
        environment = {**os.environ, "PYTHONPATH": str(self.folder)}
        command = (sys.executable, "-m", "local_cluster", "images", *_IMAGES)
        run(*command, env=environment, cwd=self.folder, timeout=_BUILD_SECONDS)


def is_in_history() -> bool:
    """Tells whether this clone has the commit; a shallow one does not."""
    return succeeds("git", "-C", REPOSITORY, "cat-file", "-e", f"{COMMIT}^{{commit}}")


def unpack(folder: Path) -> PreviousRelease:
    """Writes its repository into a folder."""
    archive = subprocess.run(
        ["git", "-C", str(REPOSITORY), "archive", COMMIT], capture_output=True, check=True, timeout=60
    )
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True, timeout=60)
    return PreviousRelease(folder)
