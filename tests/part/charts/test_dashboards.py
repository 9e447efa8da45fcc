"""Every query of every dashboard finds something in a real Prometheus that scrapes all that our parts serve."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY, Counter, Gauge, Histogram

from charts.dashboards import DASHBOARDS, Panel, expressions
from conversations.pgbouncer import metrics as pgbouncer
from docs.reference import metrics
from local_cluster.ports import LOOPBACK, free_port
from testing.chart import NAMESPACE, render
from testing.prometheus import Prometheus, scraping
from testing.waiting import eventually
from voice_telemetry.server import build_health_app, serving

# What queries choose by; of all other labels any value does.
VALUES = {
    "phase": ("Active", "Failed"),
    "state": ("ready", "in-use"),
    "interrupted": ("true", "false"),
    "reason": ("NoCapacity", "NodeLost"),
    "kind": ("any", "input", "cached", "output"),
}


PRICES = [
    {
        "provider": "any",
        "model": "any",
        "inputMillionTokens": 0.4,
        "cachedMillionTokens": 0.1,
        "outputMillionTokens": 1.6,
        "speechHour": 0.36,
        "millionCharacters": 15,
    }
]


def count_everything() -> None:
    """Gives each collector that a scrape of operator and token service finds one sample more."""
    for title, (_, holder, _) in metrics.PARTS.items():
        for collector in metrics.find_collectors(holder) if title != "Local models" else ():
            for labels in itertools.product(*(VALUES.get(name, ("any",)) for name in collector._labelnames)):
                child = collector.labels(*labels) if labels else collector
                if isinstance(child, Histogram):
                    child.observe(0.4)
                elif isinstance(child, Counter | Gauge):
                    child.inc()


def find_queries() -> Iterator[tuple[str, str]]:
    """Yields each query as Grafana asks it, and its legend."""
    for dashboard in DASHBOARDS:
        legends = (legend for panel in dashboard.panels for legend in read_legends(panel))
        for query, legend in zip(expressions(dashboard), legends, strict=True):
            filled = query.replace("$namespace", NAMESPACE).replace("$__rate_interval", "10s").replace("$__range", "1m")
            yield filled, legend


def read_legends(panel: Panel) -> list[str]:
    return [legend for _, legend in panel.queries]


async def find_empty(prometheus: Prometheus) -> list[str]:
    """Returns the queries that find nothing, or nothing with all that their legend names."""
    empty = []
    for query, legend in find_queries():
        named = set(re.findall(r"\{\{(\w+)\}\}", legend))
        if not any(named <= {*series["metric"]} for series in await prometheus.query(query)):
            empty.append(query)
    return empty


async def test_every_panel_has_data(tmp_path: Path) -> None:
    for each in pgbouncer.ALL:
        REGISTRY.register(each)
    app = build_health_app(is_live=lambda: None, is_ready=lambda: None, before_scrape=count_everything)
    port = free_port()
    (prices,) = (each["spec"] for each in render({"metrics": {"prices": PRICES}}) if each["kind"] == "PrometheusRule")
    async with (
        serving(app, port, LOOPBACK),
        scraping([f"{LOOPBACK}:{port}"], {"namespace": NAMESPACE}, tmp_path, prices) as prometheus,
    ):
        empty: list[str] = []

        async def all_have_data() -> bool:
            empty[:] = await find_empty(prometheus)
            return not empty

        await eventually(all_have_data, 60, lambda: f"no data: {empty}")
        assert await read_price(prometheus, "voice_agent_token_price", "input") == pytest.approx(0.4e-6)
        assert await read_price(prometheus, "voice_agent_token_price", "cached") == pytest.approx(-0.3e-6)
        assert await read_price(prometheus, "voice_agent_token_price", "output") == pytest.approx(1.6e-6)
        assert await read_price(prometheus, "voice_agent_speech_price") == pytest.approx(0.36 / 3600)
        assert await read_price(prometheus, "voice_agent_character_price") == pytest.approx(15e-6)


async def read_price(prometheus: Prometheus, name: str, kind: str = "") -> float:
    """Returns one price of the model that is called any."""
    (series,) = await prometheus.query(f'{name}{{kind="{kind}"}}')
    return float(series["value"][1])
