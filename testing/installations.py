"""Typical installations of the chart: the files of values that its page of installing names."""

from typing import Any

import yaml

from local_cluster.layout import REPOSITORY

INSTALLATIONS = sorted((REPOSITORY / "charts" / "installations").glob("*.yaml"))


def load_installation(name: str) -> dict[str, Any]:
    """Returns the values of one, for example "cloud"."""
    (path,) = [path for path in INSTALLATIONS if path.stem == name]
    values: dict[str, Any] = yaml.safe_load(path.read_text())
    return values
