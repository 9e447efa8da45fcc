"""The page about `kubectl voice` names each command, and no other."""

import re
from pathlib import Path

from typer.main import get_command

from kubectl_voice.__main__ import app

PAGE = (Path(__file__).parents[3] / "docs/kubectl-voice.md").read_text()


def test_the_page_has_every_command() -> None:
    table = PAGE.partition("## What it needs")[0]
    assert set(re.findall(r"^\| `([a-z]+)` \|", table, re.MULTILINE)) == set(get_command(app).commands)  # type: ignore[attr-defined]
