"""An agent pod's process, and models that answer as told."""

from collections.abc import AsyncIterator

import pytest

from testing.agent_pod import AgentPod, build_provider, running_pod
from testing.fake_openai import FakeOpenAI, running_fake_openai


@pytest.fixture
async def fake() -> AsyncIterator[FakeOpenAI]:
    """The models."""
    async with running_fake_openai() as running:
        yield running


@pytest.fixture
async def pod(fake: FakeOpenAI) -> AsyncIterator[AgentPod]:
    """A waiting pod whose only provider is the fake."""
    async with running_pod([build_provider(fake.base_url)]) as running:
        yield running
