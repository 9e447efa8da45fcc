"""Everything that the chart renders, compared whole with tests/data: what an upgrade changes is seen before it."""

from typing import Any

import pytest
import yaml

from testing.chart import CHART, render
from testing.golden import DATA, check_golden, find_cases


@pytest.mark.parametrize("case", find_cases("chart"))
def test_what_is_rendered_is_what_was_written_down(case: str) -> None:
    check_golden(case, render)


def test_everything_sets_every_value() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    everything = yaml.safe_load((DATA / "chart" / "everything" / "input.yaml").read_text())
    assert paths_of(values) <= paths_of(everything)


def paths_of(values: Any, path: str = "") -> set[str]:
    """Returns the dotted path of every value and of every map of them."""
    if not isinstance(values, dict):
        return {path}
    return {path}.union(*(paths_of(value, f"{path}.{key}") for key, value in values.items()))
