"""A pytest plugin: a test's tier is its folder under tests/, and no test is without one."""

import pytest

TIERS = {
    "unit": "one module, nothing outside the process",
    "part": "one part of ours with the real things beside it, and what we rely on in other people's packages",
    "chart": "what the chart renders",
    "e2e": "real pods, real LiveKit, real speech",
}


def pytest_configure(config: pytest.Config) -> None:
    """Makes each tier a marker: `pytest -m "unit or chart"`."""
    for name, what in TIERS.items():
        config.addinivalue_line("markers", f"{name}: {what}")


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks each test with its tier.

    Raises:
        pytest.UsageError: a test stands in no tier's folder, or names a tier itself.
    """
    folder = config.rootpath / "tests"
    for item in items:
        tier = item.path.relative_to(folder).parts[0]
        if tier not in TIERS:
            raise pytest.UsageError(f"{item.nodeid} stands in no tier's folder: {', '.join(TIERS)}")
        if any(mark.name in TIERS for mark in item.iter_markers()):
            raise pytest.UsageError(f"{item.nodeid} names a tier: its folder does")
        item.add_marker(tier)
