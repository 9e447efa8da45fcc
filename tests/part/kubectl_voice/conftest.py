"""Fixtures of the tests that type `kubectl voice` at a real API server."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from testing.livekit import LiveKitServer
from testing.operator_cluster import OperatorCluster, operator_cluster


@pytest.fixture
async def cluster(api_server: Path, livekit: LiveKitServer, tmp_path: Path) -> AsyncIterator[OperatorCluster]:
    """A namespace with a kubelet, and no operator yet."""
    async with operator_cluster(api_server, livekit, tmp_path) as made:
        yield made
