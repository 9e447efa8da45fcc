"""A fixture stands once: no two modules of a folder have the same one, and none hides one of a conftest above it."""

import ast
from collections import Counter
from pathlib import Path

import pytest

from local_cluster.layout import REPOSITORY

TESTS = REPOSITORY / "tests"


def fixtures_of(module: Path) -> list[str]:
    functions = (
        node for node in ast.parse(module.read_text()).body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    return [
        each.name for each in functions if any("pytest.fixture" in ast.unparse(mark) for mark in each.decorator_list)
    ]


@pytest.mark.parametrize(
    "folder", sorted({path.parent for path in TESTS.rglob("*.py")}), ids=lambda folder: folder.name
)
def test_a_fixture_stands_once(folder: Path) -> None:
    above = [parent / "conftest.py" for parent in folder.parents if parent.is_relative_to(TESTS)]
    modules = [*folder.glob("*.py"), *(path for path in above if path.exists())]
    counts = Counter(name for module in modules for name in fixtures_of(module))
    assert not [name for name, count in counts.items() if count > 1]
