"""A client of the API server."""

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kube.client import KubernetesApi
from testing.operator_cluster import create_namespace


@pytest.fixture
async def kubernetes(api_server: Path) -> AsyncIterator[KubernetesApi]:
    """A client with all rights in a namespace of its own."""
    made = await KubernetesApi.connect(f"kube-{secrets.token_hex(4)}", api_server)
    await create_namespace(made, made._namespace)
    yield made
    await made.close()
