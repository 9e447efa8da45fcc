"""What a dashboard's picture shows: every panel, its legends, and values as they are read."""

import json
import re

import pytest

from charts.dashboards import DASHBOARDS, FOLDER, Dashboard
from testing.dashboard_pictures import Data, build_page, find_gaps, show_value
from testing.prometheus import Series


def answer(legend: str, instant: bool, value: float) -> Series:
    """Returns a series with the labels that a legend names."""
    labels = {name: f"any-{name}" for name in re.findall(r"\{\{(\w+)\}\}", legend)}
    points = [[at, str(value)] for at in (10.0, 12.0, 14.0)] + [[16.0, "NaN"]]
    return {"metric": labels, **({"value": points[0]} if instant else {"values": points})}


def data_for(dashboard: Dashboard, value: float) -> Data:
    panels = json.loads((FOLDER / f"{dashboard.name}.json").read_text())["panels"]
    answers = [
        [[answer(each["legendFormat"], each["instant"], value)] for each in panel["targets"]] for panel in panels
    ]
    return Data(0, 60, answers)


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda each: each.name)
def test_every_panel_is_drawn_with_its_legends(dashboard: Dashboard) -> None:
    read = json.loads((FOLDER / f"{dashboard.name}.json").read_text())
    data = data_for(dashboard, 1.0)
    page = build_page(read, data)
    assert find_gaps(read, data) == []
    for panel in dashboard.panels:
        assert f"<h2>{panel.title}</h2>" in page
    assert "any-" in page
    assert "{{" not in page
    assert "No data" not in page


@pytest.mark.parametrize("value", [0.0, -2.0])
def test_what_is_nothing_or_less_is_drawn_too(value: float) -> None:
    for dashboard in DASHBOARDS:
        build_page(json.loads((FOLDER / f"{dashboard.name}.json").read_text()), data_for(dashboard, value))


def test_a_panel_without_data_says_so_and_is_a_gap() -> None:
    read = json.loads((FOLDER / "quality.json").read_text())
    data = data_for(DASHBOARDS[1], float("nan"))
    assert len(find_gaps(read, data)) == sum(len(panel["targets"]) for panel in read["panels"])
    assert build_page(read, data).count("No data") == len(read["panels"])


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0.25, "s", "250 ms"),
        (2.5, "s", "2.5 s"),
        (600, "s", "10 min"),
        (0.125, "percentunit", "12.5%"),
        (157286400, "bytes", "150 MiB"),
        (1048576000, "bytes", "1,000 MiB"),
        (12345, "short", "12,345"),
        (0.5, "reqps", "0.5 req/s"),
    ],
)
def test_values_are_read_with_their_units(value: float, unit: str, shown: str) -> None:
    assert show_value(value, unit) == shown
