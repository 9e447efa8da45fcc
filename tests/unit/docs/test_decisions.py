"""The decisions: each is whole, short, and in the index."""

import re
from pathlib import Path

import pytest

from local_cluster.layout import REPOSITORY

FOLDER = REPOSITORY / "docs" / "decisions"
DECISIONS = sorted(FOLDER.glob("[0-9]*.md"))
PARTS = ["Context", "Choice", "Price", "What would change it"]


@pytest.mark.parametrize("decision", DECISIONS, ids=lambda file: file.stem)
def test_a_decision_is_whole_and_short(decision: Path) -> None:
    text = decision.read_text()
    assert re.findall(r"^## (.+)", text, re.MULTILINE) == PARTS
    assert 15 <= len(text.splitlines()) <= 35


def test_the_index_has_every_decision_by_number_and_title() -> None:
    listed = re.findall(r"^\| \[(\d{4})\]\((.+?)\) \| (.+) \|$", (FOLDER / "README.md").read_text(), re.MULTILINE)
    titles = [file.read_text().splitlines()[0].removeprefix("# ") for file in DECISIONS]
    assert listed == [
        (f"{number:04}", file.name, title)
        for number, (file, title) in enumerate(zip(DECISIONS, titles, strict=True), 1)
    ]
