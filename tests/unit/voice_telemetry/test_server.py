"""Health over HTTP: what is missing is said, and gauges are fresh."""

from dataclasses import dataclass

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import Gauge, Histogram

from voice_telemetry.server import build_health_app

CALLS = Gauge("voice_telemetry_test_calls", "Nothing but this test's.")
WAITS = Histogram("voice_telemetry_test_seconds", "Nothing but this test's.")


@dataclass
class Part:
    """What the checks say."""

    dead: str | None = None
    unready: str | None = None


async def read(app: web.Application, path: str) -> tuple[int, str]:
    async with TestClient(TestServer(app)) as client, client.get(path) as answer:
        return answer.status, await answer.text()


@pytest.mark.parametrize(
    ("path", "part", "told"),
    [
        ("/healthz", Part(unready="the lists are not complete"), (200, "ok\n")),
        ("/healthz", Part(dead="the watch has ended"), (503, "the watch has ended\n")),
        ("/readyz", Part(dead="the watch has ended"), (200, "ok\n")),
        ("/readyz", Part(unready="the lists are not complete"), (503, "the lists are not complete\n")),
    ],
)
async def test_what_is_missing_is_said(path: str, part: Part, told: tuple[int, str]) -> None:
    app = build_health_app(is_live=lambda: part.dead, is_ready=lambda: part.unready)
    assert await read(app, path) == told


async def test_exemplars_are_for_who_asks_for_open_metrics() -> None:
    WAITS.observe(0.4, {"trace_id": "abc"})
    app = build_health_app(is_live=lambda: None, is_ready=lambda: None)
    accept = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"}
    for headers, is_told in ((accept, True), ({}, False)):
        async with TestClient(TestServer(app)) as client, client.get("/metrics", headers=headers) as answer:
            assert ('# {trace_id="abc"} 0.4' in await answer.text()) is is_told


async def test_gauges_are_brought_up_to_date_for_each_scrape() -> None:
    app = build_health_app(is_live=lambda: None, is_ready=lambda: None, before_scrape=CALLS.inc)
    for count in (1, 2):
        status, text = await read(app, "/metrics")
        assert (status, f"voice_telemetry_test_calls {count}.0" in text) == (200, True)
