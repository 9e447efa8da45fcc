"""Each part tells its log which packages are ours, whose errors may be told in their own words."""

import ast
from importlib.util import find_spec
from pathlib import Path

import grimp
import pytest

IN_EVERY_PART = {"voicesession", "voice_telemetry"}


def read_start(part: str) -> ast.Call:
    """Returns the call by which a part starts."""
    spec = find_spec(f"{part}.__main__")
    assert spec is not None
    assert spec.origin is not None
    calls = (node for node in ast.walk(ast.parse(Path(spec.origin).read_text())) if isinstance(node, ast.Call))
    return next(call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "start")


@pytest.mark.parametrize("part", ["token_service", "voice_operator", "conversations", "voice_agent", "local_models"])
def test_a_part_names_what_it_imports_of_ours(part: str, imports: grimp.ImportGraph) -> None:
    call = read_start(part)
    given = {word.arg: word.value for word in call.keywords}
    named = ast.literal_eval(given["packages"]) if "packages" in given else ()
    imported = {module.split(".")[0] for module in imports.find_upstream_modules(part, as_package=True)}
    assert ast.literal_eval(call.args[0]) == part
    assert imported <= {*named} | IN_EVERY_PART
