"""Our packages, as pyproject.toml names them."""

import tomllib
from typing import Any

from local_cluster.layout import REPOSITORY

PROJECT: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
PACKAGES: list[str] = PROJECT["tool"]["importlinter"]["root_packages"]
