"""Fixtures of the operator's modules: an API server of a few lines."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from kube.client import KubernetesApi
from testing.answering_api_server import Answer, answering_api_server

OpenKubernetes = Callable[[Answer], AbstractAsyncContextManager[KubernetesApi]]


@pytest.fixture
def open_kubernetes(tmp_path: Path) -> OpenKubernetes:
    """Opens a client of an API server that answers so."""

    @asynccontextmanager
    async def open_(answer: Answer) -> AsyncIterator[KubernetesApi]:
        async with answering_api_server(answer, tmp_path) as kubeconfig:
            kubernetes = await KubernetesApi.connect("here", kubeconfig)
            try:
                yield kubernetes
            finally:
                await kubernetes.close()

    return open_
