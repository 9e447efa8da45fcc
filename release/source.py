"""What a release is made of: its version, and the commit that the checkout stands at, whole."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from local_cluster.commands import run
from local_cluster.errors import ClusterError
from local_cluster.layout import REPOSITORY

# SemVer without build metadata, whose `+` no image's tag may have.
_NUMBER = "(0|[1-9][0-9]*)"
_VERSION = re.compile(rf"{_NUMBER}[.]{_NUMBER}[.]{_NUMBER}(-[0-9A-Za-z-]+([.][0-9A-Za-z-]+)*)?")
_REGISTRY = re.compile(r"[a-zA-Z0-9][-a-zA-Z0-9.]*(:[0-9]+)?(/[-a-z0-9._]+)*")


@dataclass(frozen=True)
class Source:
    """One version of the project, as it stands in a commit."""

    version: str
    revision: str
    committed_at: datetime
    """When the commit was made: a build of it a year later has the same date."""
    url: str = ""
    """Where the sources are; empty where that is not known."""


def read_source(version: str, url: str = "", checkout: Path = REPOSITORY) -> Source:
    """Returns what would be released of a checkout as it stands.

    Raises:
        ClusterError: the version is none, or the checkout holds what no commit does.
    """
    if not _VERSION.fullmatch(version):
        raise ClusterError(f"VERSION={version} is no version. Say VERSION=1.2.3, or 1.2.3-rc.1 before it is one.")
    changed = _git(checkout, "status", "--porcelain").splitlines()
    if changed:
        raise ClusterError(
            f"Not all of this checkout is committed ({changed[0].strip()}{', ...' if changed[1:] else ''}), and a "
            "release is what a commit says. Commit or stash it."
        )
    revision, seconds = _git(checkout, "log", "-1", "--format=%H %ct").split()
    return Source(version, revision, datetime.fromtimestamp(int(seconds), UTC), url)


def check_registry(registry: str) -> str:
    """Returns the registry, a host with a port and a folder where they are needed.

    Raises:
        ClusterError: it is none.
    """
    if not _REGISTRY.fullmatch(registry):
        raise ClusterError(
            f"REGISTRY={registry} is no registry. Say REGISTRY=HOST, or HOST:PORT/FOLDER, without https."
        )
    return registry


def _git(checkout: Path, *arguments: str) -> str:
    return run("git", *arguments, cwd=checkout)
