"""A value that the list for production names is one of the chart's."""

import re
from typing import Any

import pytest
import yaml

from local_cluster.layout import REPOSITORY

VALUES = yaml.safe_load((REPOSITORY / "charts/voice-agent/values.yaml").read_text())
PAGE = (REPOSITORY / "docs/production.md").read_text()
# In the middle column.
NAMED = [
    name
    for line in PAGE.splitlines()
    if line.startswith("| ") and line.count("|") == 4
    for name in re.findall(r"`([a-zA-Z.]+)`", line.split("|")[2])
]


def test_the_list_names_values() -> None:
    assert len(NAMED) > 20


@pytest.mark.parametrize("name", NAMED)
def test_a_value_of_the_list_is_one_of_the_chart(name: str) -> None:
    place: Any = VALUES
    for part in name.split("."):
        assert part in place, name
        place = place[part]
