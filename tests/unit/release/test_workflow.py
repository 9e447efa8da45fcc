"""The workflow that releases a tag: its actions are pinned, and what it asks of us is there."""

import re
from typing import Any

import pytest
import yaml

from local_cluster.layout import REPOSITORY

TEXT = (REPOSITORY / ".github" / "workflows" / "release.yml").read_text()
MAKEFILE = (REPOSITORY / "Makefile").read_text()
WORKFLOW: Any = yaml.safe_load(TEXT)
STEPS: list[dict[str, Any]] = WORKFLOW["jobs"]["release"]["steps"]
COMMANDS = "\n".join(step.get("run", "") for step in STEPS)


def test_it_runs_for_tags_alone_and_may_do_nothing_but_what_it_says() -> None:
    assert WORKFLOW[True] == {"push": {"tags": ["v[0-9]+.[0-9]+.[0-9]+*"]}}  # YAML's own `on`
    assert WORKFLOW["permissions"] == {}
    assert WORKFLOW["jobs"]["release"]["permissions"] == {"contents": "read", "packages": "write", "id-token": "write"}


@pytest.mark.parametrize("line", [line.strip() for line in TEXT.splitlines() if "uses:" in line])
def test_an_action_is_pinned_by_its_commit(line: str) -> None:
    assert re.fullmatch(r"- uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)


def test_what_it_makes_is_in_the_makefile() -> None:
    asked = re.findall(r"\bmake (\w+)((?: \w+=\S+)*)", COMMANDS)
    assert [target for target, _ in asked] == ["setup", "release"]
    for target, variables in asked:
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)
        for name in re.findall(r"(\w+)=", variables):
            assert f"$({name})" in MAKEFILE


def test_what_it_signs_is_what_a_release_tells_of_itself() -> None:
    made = (REPOSITORY / "release" / "__main__.py").read_text()
    for name in ("images", "charts"):
        assert f".{name}" in COMMANDS
        assert f'"{name}":' in made
    assert COMMANDS.count("dist/release-$VERSION/release.json") == 1
    assert 'folder / "release.json"' in made
    assert 'REPOSITORY / "dist" / f"release-' in made
