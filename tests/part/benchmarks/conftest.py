"""Fixtures of the tests of benchmarks."""

from collections.abc import Iterator

import pytest

from testing.pod_port import pod_port


@pytest.fixture
def all_pods() -> Iterator[None]:
    """One program may answer for all pods meanwhile."""
    with pod_port(everywhere=True):
        yield
