"""Every name that the code defines, for tests of pages that speak of them."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from local_cluster.layout import REPOSITORY

# Folders of packages, and folders that are packages.
_BASES = {"operator": "operator", "agent_image": "agent_image"} | dict.fromkeys(
    ("local_models", "local_cluster", "testing", "benchmarks", "demo"), "."
)


@cache
def names_of_the_code() -> frozenset[str]:
    """Returns each module, what stands at its top, alone and after it, and the members of classes as `Class.member`."""
    return frozenset(
        name
        for folder, base in _BASES.items()
        for file in (REPOSITORY / folder).rglob("*.py")
        for name in _find_names(file, REPOSITORY / base)
    )


def _find_names(file: Path, base: Path) -> Iterator[str]:
    parts = file.relative_to(base).with_suffix("").parts
    module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    yield module
    for node in ast.parse(file.read_text()).body:
        for name in _defined(node):
            yield from (name, f"{module}.{name}")
        if isinstance(node, ast.ClassDef):
            yield from (f"{node.name}.{name}" for member in node.body for name in _defined(member))


def _defined(node: ast.stmt) -> Iterator[str]:
    match node:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            yield name
        case ast.AnnAssign(target=ast.Name(id=name)):
            yield name
        case ast.Assign(targets=targets):
            yield from (target.id for target in targets if isinstance(target, ast.Name))
