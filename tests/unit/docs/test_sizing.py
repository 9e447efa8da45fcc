"""The page of sizes: its table is its own arithmetic, and what it says of the chart is what the chart has."""

import functools
import re
from math import ceil, sqrt
from typing import Any

import pytest
import yaml

from local_cluster.layout import REPOSITORY
from testing.chart import CHART
from voicesession.models import Warm

PAGE = (REPOSITORY / "docs" / "sizing.md").read_text()
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
CALL_SECONDS = 180
REQUEST = 0.25
START_CPU_SECONDS = 3.3
START_SECONDS = 2.4
PATIENCE_SECONDS = 1.0
NODE_CPUS = 15
NODE_AGENTS = 100


def rows_after(heading: str) -> list[list[str]]:
    """Returns the cells of the table that is under this heading."""
    section = PAGE.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def with_crowds(mean: float) -> int:
    """Returns how many there may be of what comes by chance, so many on average."""
    return ceil(mean + 4 * sqrt(mean))


@pytest.mark.parametrize("row", rows_after("From calls to nodes"), ids=lambda row: row[0])
def test_a_row_is_what_its_calls_amount_to(row: list[str]) -> None:
    calls, rate, requested, starting, nodes, waiting, at_once, operator = map(float, row)
    begin = calls / CALL_SECONDS
    assert rate == pytest.approx(begin, abs=0.005)
    assert requested == calls * REQUEST
    assert starting == pytest.approx(begin * START_CPU_SECONDS, abs=0.05)
    assert waiting == max(2, with_crowds(begin * (PATIENCE_SECONDS + START_SECONDS)))
    assert at_once == max(Warm().max_starting, with_crowds(begin * START_SECONDS))
    fitting = max(ceil((requested + starting) / NODE_CPUS), ceil((calls + waiting) / NODE_AGENTS))
    assert nodes == fitting + 1
    heartbeats = {10: 0.002, 100: 0.008, 300: 0.02, 1000: 0.049, 3000: 0.099}[int(calls)]
    assert operator == pytest.approx(begin * 0.016 + heartbeats, abs=0.01)


def test_the_default_of_pods_that_start_at_once_suits_as_many_calls_as_it_says() -> None:
    begin = Warm().max_starting / START_SECONDS
    assert f"{begin:.1f} new calls a second, which is {begin * CALL_SECONDS:.0f} calls at once" in PAGE


@pytest.mark.parametrize("row", rows_after("The other parts"), ids=lambda row: row[1])
def test_a_part_asks_for_what_the_page_says(row: list[str]) -> None:
    _, value, cpu, memory, limit = row
    part, *path = value.strip("`").split(".")
    resources = functools.reduce(lambda values, key: values[key], path, VALUES[part])
    if part == "defaultPool":
        found = (resources["cpuRequest"], resources["memoryRequest"], resources["memoryLimit"])
    else:
        found = (resources["requests"]["cpu"], resources["requests"]["memory"], resources["limits"]["memory"])
    assert found == (cpu, memory, limit)


def test_the_database_s_defaults_are_the_charts() -> None:
    named = dict(re.findall(r"`database\.(\w+)` \((\d+)\)", PAGE))
    assert named == {name: str(VALUES["database"][name]) for name in ("maxClients", "maxConnections")}
