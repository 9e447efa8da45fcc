"""Fixtures of the tests that run an operator against a real API server and a real LiveKit."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from testing.livekit import LiveKitServer, running_livekit
from testing.operator_cluster import OperatorCluster, operator_cluster


@pytest.fixture(scope="session")
def livekit() -> Iterator[LiveKitServer]:
    """A LiveKit server for the whole run; take rooms of your own in it."""
    with running_livekit() as server:
        yield server


@pytest.fixture
async def cluster(api_server: Path, livekit: LiveKitServer, tmp_path: Path) -> AsyncIterator[OperatorCluster]:
    """A namespace with a kubelet, and no operator yet."""
    async with operator_cluster(api_server, livekit, tmp_path) as made:
        yield made
