"""Everything that the chart renders, compared whole with tests/data: what an upgrade changes is seen before it."""

from typing import Any

import pytest
import yaml

from testing.chart import CHART, render
from testing.golden import DATA, check_golden, find_cases


def render_reproducibly(values: dict[str, Any]) -> Any:
    """Returns the objects, without what is another with each rendering: generated secrets."""
    return mask(render(values), render(values))


def mask(one: Any, other: Any) -> Any:
    """Returns `one`, with "<random>" where `other` differs."""
    if isinstance(one, dict) and isinstance(other, dict):
        return {key: mask(value, other[key]) for key, value in one.items()}
    if isinstance(one, list) and isinstance(other, list):
        return [mask(*pair) for pair in zip(one, other, strict=True)]
    return one if one == other else "<random>"


@pytest.mark.parametrize("case", find_cases("chart"))
def test_what_is_rendered_is_what_was_written_down(case: str) -> None:
    check_golden(case, render_reproducibly)


def test_everything_sets_every_value() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    everything = yaml.safe_load((DATA / "chart" / "everything" / "input.yaml").read_text())
    assert paths_of(values) <= paths_of(everything)


def paths_of(values: Any, path: str = "") -> set[str]:
    """Returns the dotted path of every value and of every map of them."""
    if not isinstance(values, dict):
        return {path}
    return {path}.union(*(paths_of(value, f"{path}.{key}") for key, value in values.items()))
