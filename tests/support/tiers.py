"""A pytest plugin: gives each tier of tests a heading, and says in the end how long each took."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

TIERS = ("unit", "contract", "chart", "api", "e2e")


class Tiers:
    """Watches the run go from tier to tier; a tier is a folder below tests/."""

    def __init__(self) -> None:
        """Nothing has run yet."""
        self._seconds: dict[str, float] = {}
        self._current: str | None = None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Prints a heading before a tier's first test and adds each test's time to its tier."""
        tier = _tier(item.path)
        if tier != self._current:
            self._current = tier
            reporter = item.config.pluginmanager.getplugin("terminalreporter")
            reporter.ensure_newline()
            reporter.section(f"tier {tier}", sep="=", bold=True)
        started = time.monotonic()
        try:
            return (yield)
        finally:
            self._seconds[tier] = self._seconds.get(tier, 0.0) + time.monotonic() - started

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Prints each tier's time."""
        terminalreporter.section("time by tier")
        for tier, seconds in self._seconds.items():
            terminalreporter.write_line(f"{tier:<10} {seconds:7.1f} s")


def pytest_configure(config: pytest.Config) -> None:
    """Registers the plugin."""
    config.pluginmanager.register(Tiers())


def _tier(path: Path) -> str:
    return next((part for part in path.parts if part in TIERS), "other")
