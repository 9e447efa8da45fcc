"""Writes the pages of this folder from what they describe: `python -m docs.reference`. A test holds the two equal."""

from pathlib import Path

from docs.reference import crds, environment, metrics, values

FOLDER = Path(__file__).parent

PAGES = {
    "crds.md": crds.build_page,
    "environment.md": environment.build_page,
    "metrics.md": metrics.build_page,
    "values.md": values.build_page,
}
