"""A Kubernetes in memory, for front doors that the real one would slow down or could not fail for."""

import pytest

from testing.fake_cluster import FakeCluster


@pytest.fixture
def cluster() -> FakeCluster:
    """Has profile and pool `default`."""
    return FakeCluster()
