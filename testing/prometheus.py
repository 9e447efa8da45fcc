"""A real Prometheus, and its promtool, from the distribution's package."""

import asyncio
import contextlib
import math
import re
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from local_cluster.ports import LOOPBACK, free_port
from testing.waiting import eventually, eventually_sync

START_SECONDS = 60.0
# An alert that was set off by a test before is given its time to end; the longest is what a scaled hour leaves.
CALM_SECONDS = 240.0
FIRING_SECONDS = 60.0
_DURATION = re.compile(r"\[(\d+)([smh])\]")
_SECONDS = {"s": 1, "m": 60, "h": 3600}

Series = dict[str, Any]


@dataclass(frozen=True)
class Prometheus:
    """One that runs and scrapes.

    began: since when, in seconds of the wall clock. blind: it reaches nothing that it could scrape, and no alert of its
    is waited for.
    """

    url: str
    began: float = field(default_factory=time.time)
    blind: bool = False

    async def query(self, expression: str) -> list[Series]:
        """Returns the series that a query finds now.

        Raises:
            aiohttp.ClientResponseError: it is no query.
        """
        return await self._ask("query", query=expression)

    async def query_range(self, expression: str, step: float, start: float | None = None) -> list[Series]:
        """Returns what a query finds at each step of so many seconds, from `start` or the first scrape until now.

        Raises:
            aiohttp.ClientResponseError: it is no query.
        """
        since = str(start or self.began)
        return await self._ask("query_range", query=expression, start=since, end=str(time.time()), step=str(step))

    async def exemplars(self, metric: str) -> set[str]:
        """Returns the ids of the traces to which this metric leads, as scraped in the last hour."""
        now = time.time()
        asked = {"query": metric, "start": str(now - 3600), "end": str(now + 60)}
        async with (
            aiohttp.ClientSession(raise_for_status=True) as session,
            session.get(f"{self.url}/api/v1/query_exemplars", params=asked) as answer,
        ):
            found: list[dict[str, Any]] = (await answer.json())["data"]
        return {each["labels"]["trace_id"] for series in found for each in series["exemplars"]}

    async def is_ready(self) -> bool:
        """Tells whether it answers."""
        with contextlib.suppress(aiohttp.ClientError):
            await self.query("vector(1)")
            return True
        return False

    async def firing(self) -> set[str]:
        """Returns the names of the alerts that fire now."""
        return {each["metric"]["alertname"] for each in await self.query('ALERTS{alertstate="firing"}')}

    async def until_calm(self, *alerts: str) -> None:
        """Waits until none of these alerts fires; of all, where none is named."""
        firing: set[str] = set()

        async def is_calm() -> bool:
            firing.clear()
            firing.update(await self.firing())
            return self.blind or not (firing & {*alerts} if alerts else firing)

        await eventually(is_calm, CALM_SECONDS, lambda: f"firing: {sorted(firing)}")

    async def until_fired(self, since: float, *alerts: str) -> None:
        """Waits until each of these alerts has fired at any time since then, in seconds of the wall clock."""
        fired: set[str] = set()

        async def have_all() -> bool:
            found = await self.query_range('ALERTS{alertstate="firing"}', 1, since)
            fired.update(series["metric"]["alertname"] for series in found)
            return self.blind or fired >= {*alerts}

        await eventually(have_all, FIRING_SECONDS, lambda: f"of {alerts} fired: {sorted(fired)}")

    @contextlib.asynccontextmanager
    async def alerting(self, *alerts: str) -> AsyncIterator[None]:
        """Sees that these alerts are quiet before a fault that the block makes, and fire for it."""
        await self.until_calm(*alerts)
        began = time.time()
        yield
        await self.until_fired(began, *alerts)

    async def _ask(self, what: str, **asked: str) -> list[Series]:
        async with (
            aiohttp.ClientSession(raise_for_status=True) as session,
            session.get(f"{self.url}/api/v1/{what}", params=asked) as answer,
        ):
            found: list[Series] = (await answer.json())["data"]["result"]
            return found


def read_points(series: Series) -> list[tuple[float, float]]:
    """Returns a series' moments and values, those that are no number left out."""
    values = series.get("values") or [series["value"]]
    return [(at, float(value)) for at, value in values if math.isfinite(float(value))]


def hasten(rules: dict[str, Any], times: float) -> dict[str, Any]:
    """Returns rules whose durations, ranges and `for`, are so many times shorter: a fault of seconds is one of minutes.

    `rules`: groups of them, as in the spec of a PrometheusRule.
    """

    def shorter(found: re.Match[str]) -> str:
        return f"[{_hasten(found.group(1) + found.group(2), times)}]"

    def faster(rule: dict[str, Any]) -> dict[str, Any]:
        patience = {"for": _hasten(rule["for"], times)} if "for" in rule else {}
        return {**rule, "expr": _DURATION.sub(shorter, rule["expr"]), **patience}

    return {"groups": [{**group, "rules": [faster(rule) for rule in group["rules"]]} for group in rules["groups"]]}


def _hasten(duration: str, times: float) -> str:
    return f"{int(duration[:-1]) * _SECONDS[duration[-1]] * 1000 / times:.0f}ms"


@contextlib.asynccontextmanager
async def scraping(
    targets: list[str], labels: dict[str, str], folder: Path, rules: dict[str, Any] | None = None
) -> AsyncIterator[Prometheus]:
    """Yields one that scrapes these addresses each second and adds these labels; its data are in `folder`.

    `rules`: groups of them, as in the spec of a PrometheusRule.
    """
    where = {"static_configs": [{"targets": targets, "labels": labels}]}
    process, prometheus = _start(where, 1, folder, rules)
    try:
        await eventually(prometheus.is_ready, START_SECONDS, "Prometheus does not answer")
        yield prometheus
    finally:
        _end(process)


@contextlib.contextmanager
def scraping_listed(targets: Path, folder: Path, rules: dict[str, Any]) -> Iterator[Prometheus]:
    """Yields one that scrapes, every other second, what a file lists, also what it will list later.

    `targets`: in the format of Prometheus' file_sd_configs. `rules`: as in the spec of a PrometheusRule.
    """
    process, prometheus = _start({"file_sd_configs": [{"files": [str(targets)]}]}, 2, folder, rules)
    try:
        eventually_sync(lambda: asyncio.run(prometheus.is_ready()), START_SECONDS, "Prometheus does not answer")
        yield prometheus
    finally:
        _end(process)


def _start(
    where: dict[str, Any], seconds: int, folder: Path, rules: dict[str, Any] | None
) -> tuple[subprocess.Popen[bytes], Prometheus]:
    port = free_port()
    job = {"job_name": "voice-agent", "scrape_interval": f"{seconds}s", "scrape_timeout": f"{seconds}s", **where}
    (folder / "rules.yml").write_text(yaml.safe_dump(rules or {}))
    settings = {"global": {"evaluation_interval": "1s"}, "rule_files": ["rules.yml"], "scrape_configs": [job]}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
    process = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={LOOPBACK}:{port}",
            "--enable-feature=exemplar-storage",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return process, Prometheus(f"http://{LOOPBACK}:{port}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait()


async def complaints_about_rules(tests: dict[str, Any], folder: Path) -> str:
    """Has promtool test alerting rules, as its own format has them; returns what it finds wrong, or nothing."""
    (folder / "tests.yml").write_text(yaml.safe_dump(tests))
    process = await asyncio.create_subprocess_exec(
        "promtool", "test", "rules", str(folder / "tests.yml"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    told, _ = await process.communicate()
    return "" if process.returncode == 0 else told.decode()
