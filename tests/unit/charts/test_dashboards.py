"""Dashboards and alerts ask for metrics that there are, and each alert has its page."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from charts.dashboards import DASHBOARDS, FOLDER, Dashboard, build, expressions
from docs.reference import metrics
from local_cluster.layout import REPOSITORY

ALERTS = REPOSITORY / "charts" / "voice-agent" / "alerts.yaml"
RUNBOOKS = REPOSITORY / "docs" / "runbooks"

# What rules make of the chart's values.
PRICES = {
    "voice_agent_token_price": {"namespace", "provider", "model", "kind"},
    "voice_agent_speech_price": {"namespace", "provider", "model"},
    "voice_agent_character_price": {"namespace", "provider", "model"},
}


def read_alerts() -> Iterator[dict[str, Any]]:
    """Yields the alerts as the chart has them."""
    return (rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"])


def read_labels() -> dict[str, set[str]]:
    """Returns the labels of every series of ours, by its name; `namespace` is Prometheus' own."""
    found = dict(PRICES)
    for _, holder, _ in metrics.PARTS.values():
        for collector in metrics.find_collectors(holder):
            labels = {*collector._labelnames, "namespace"}
            name = metrics.exposed_name(collector)
            for suffix in ("_bucket", "_count", "_sum") if collector._type == "histogram" else ("",):
                found[name + suffix] = labels | ({"le"} if suffix == "_bucket" else set())
    return found


QUERIES = [*(query for each in DASHBOARDS for query in expressions(each)), *(alert["expr"] for alert in read_alerts())]


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_is_of_series_and_labels_that_there_are(query: str) -> None:
    known = read_labels()
    names = re.findall(r"\b(?:voice|local_models|pgbouncer)_\w+", query)
    assert names
    for name in names:
        assert name in known, name
    used = {label for group in re.findall(r"\bby \(([^)]*)\)", query) for label in group.split(", ")}
    used |= {label for match in re.findall(r"\{([^}]*)\}", query) for label in re.findall(r"(\w+)[=!]~?\"", match)}
    assert used <= set.union(*(known[name] for name in names)), query


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda each: each.name)
def test_the_files_are_up_to_date_and_legends_name_what_the_query_keeps(dashboard: Dashboard) -> None:
    assert json.loads((FOLDER / f"{dashboard.name}.json").read_text()) == build(dashboard), "run `make reference`"
    for panel in dashboard.panels:
        for query, legend in panel.queries:
            kept = {label for group in re.findall(r"\bby \(([^)]*)\)", query) for label in group.split(", ")}
            assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= kept, panel.title


def test_there_is_no_other_dashboard() -> None:
    assert {file.stem for file in FOLDER.glob("*.json")} == {each.name for each in DASHBOARDS}


def test_each_alert_has_a_page_and_each_page_an_alert() -> None:
    alerts = [alert["alert"] for alert in read_alerts()]
    pages = {file.stem for file in RUNBOOKS.glob("*.md")} - {"README"}
    assert set(alerts) == pages
    assert len(alerts) == len(pages)
    listed = re.findall(r"^\| \[(\w+)\]", (RUNBOOKS / "README.md").read_text(), re.MULTILINE)
    assert listed == alerts
    for name in alerts:
        text = (RUNBOOKS / f"{name}.md").read_text()
        assert re.findall(r"^\*\*(.+?)\.\*\*", text, re.MULTILINE) == ["Means", "Impact", "Look here", "Do this"]
