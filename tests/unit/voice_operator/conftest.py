"""Fixtures of the operator's modules: an API server of a few lines, and a clock that nobody waits for."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from kube.client import KubernetesApi
from testing.answering_api_server import Answer, answering_api_server
from testing.virtual_time import VirtualTimeLoop

LoopFactory = Callable[[], asyncio.AbstractEventLoop]
OpenKubernetes = Callable[[Answer], AbstractAsyncContextManager[KubernetesApi]]


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, LoopFactory]:
    """Gives a test that is marked so an event loop in virtual time."""
    if item.get_closest_marker("virtual_time"):
        return {"virtual": VirtualTimeLoop}
    return {"real": asyncio.new_event_loop}


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
