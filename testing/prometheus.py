"""A real Prometheus, and its promtool, from the distribution's package."""

import asyncio
import contextlib
import subprocess
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from local_cluster.ports import LOOPBACK, free_port
from testing.waiting import eventually


@dataclass(frozen=True)
class Prometheus:
    """One that runs and scrapes."""

    url: str

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """Returns the series that a query finds now.

        Raises:
            aiohttp.ClientResponseError: it is no query.
        """
        asked = {"query": expression}
        async with (
            aiohttp.ClientSession(raise_for_status=True) as session,
            session.get(f"{self.url}/api/v1/query", params=asked) as answer,
        ):
            found: list[dict[str, Any]] = (await answer.json())["data"]["result"]
            return found

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


@contextlib.asynccontextmanager
async def scraping(
    targets: list[str], labels: dict[str, str], folder: Path, rules: dict[str, Any] | None = None
) -> AsyncIterator[Prometheus]:
    """Yields one that scrapes these addresses each second and adds these labels; its data are in `folder`.

    `rules`: groups of them, as in the spec of a PrometheusRule.
    """
    port = free_port()
    static = [{"targets": targets, "labels": labels}]
    job = {"job_name": "voice-agent", "scrape_interval": "1s", "static_configs": static}
    (folder / "rules.yml").write_text(yaml.safe_dump(rules or {}))
    settings = {"global": {"evaluation_interval": "1s"}, "rule_files": ["rules.yml"], "scrape_configs": [job]}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
    process = await asyncio.create_subprocess_exec(
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={LOOPBACK}:{port}",
        "--enable-feature=exemplar-storage",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    prometheus = Prometheus(f"http://{LOOPBACK}:{port}")
    try:
        await eventually(prometheus.is_ready, 60, "Prometheus does not answer")
        yield prometheus
    finally:
        process.terminate()
        await process.wait()


async def complaints_about_rules(tests: dict[str, Any], folder: Path) -> str:
    """Has promtool test alerting rules, as its own format has them; returns what it finds wrong, or nothing."""
    (folder / "tests.yml").write_text(yaml.safe_dump(tests))
    process = await asyncio.create_subprocess_exec(
        "promtool", "test", "rules", str(folder / "tests.yml"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    told, _ = await process.communicate()
    return "" if process.returncode == 0 else told.decode()
