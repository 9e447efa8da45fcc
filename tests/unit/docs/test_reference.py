"""The reference pages are what their generators make of the code, and no variable or metric is forgotten."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.reference import FOLDER, PAGES, metrics
from docs.reference.environment import BESIDE_SETTINGS, PARTS, read_names
from local_cluster.layout import REPOSITORY

# Where variables are read that somebody may want to set. The benchmarks' are between their own processes.
_READERS = ("operator", "agent_image", "local_models", "local_cluster", "demo", "testing", "tests")
_EVERYBODYS = {"HOME", "LANG", "PATH"}
_MAKES_OWN = {"CURDIR", "MAKE", "MAKEFILE_LIST"}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_up_to_date(name: str) -> None:
    assert (FOLDER / name).read_text() == PAGES[name](), "run `make reference`"


def test_every_variable_that_is_read_by_name_is_listed() -> None:
    read = {
        name for folder in _READERS for file in (REPOSITORY / folder).rglob("*.py") for name in find_variables(file)
    }
    of_settings = {name for _, settings in PARTS.values() for name in read_names(settings).values()}
    listed = {name for variables in BESIDE_SETTINGS.values() for name in variables}
    unlisted = (read | find_make_variables()) - listed - of_settings - _EVERYBODYS - _MAKES_OWN
    assert not unlisted, "say what it does in docs/reference/environment.py"
    assert listed <= read | find_make_variables(), "nothing reads this any more"


def test_every_module_with_metrics_is_listed() -> None:
    with_collectors = {
        file.relative_to(REPOSITORY)
        for folder in ("operator", "agent_image", "local_models")
        for file in (REPOSITORY / folder).rglob("*.py")
        if re.search(r"from prometheus_client import .*\b(Counter|Gauge|Histogram|Summary)\b", file.read_text())
    }
    listed = {Path(str(module.__file__)).relative_to(REPOSITORY) for module, _, _ in metrics.PARTS.values()}
    assert with_collectors == listed


def find_variables(file: Path) -> Iterator[str]:
    """Yields the environment variables that a module reads or sets by name, in place or by a constant of its own."""
    tree = ast.parse(file.read_text())
    constants = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Attribute(attr="environ")), args=[key, *_]):
                pass
            case ast.Subscript(value=ast.Attribute(attr="environ"), slice=key):
                pass
            case _:
                continue
        match key:
            case ast.Constant(value=str() as name):
                yield name
            case ast.Name(id=constant) if constant in constants:
                yield str(constants[constant])


def find_make_variables() -> set[str]:
    """Returns the variables that the Makefile uses and leaves to whoever calls it."""
    text = (REPOSITORY / "Makefile").read_text()
    used = set(re.findall(r"\$\(([A-Z_]+)\)", text))
    own = set(re.findall(r"^(?:[\w -]+: )?(?:export )?([A-Z_]+) :?=", text, re.MULTILINE))
    return used - own - {"TIER"}  # TIER is the Makefile's word to itself
