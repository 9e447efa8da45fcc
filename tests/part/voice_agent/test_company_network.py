"""Models behind a company's proxy, whose certificate only the company's authority vouches for."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from openai import APIConnectionError, AsyncClient

from testing.agent_pod import build_provider
from testing.company_network import HOST, CompanyNetwork, company_network
from testing.fake_openai import FakeOpenAI
from voice_agent.model_clients import ModelClients


@pytest.fixture
async def company(fake: FakeOpenAI, tmp_path: Path) -> AsyncIterator[CompanyNetwork]:
    """The models' network."""
    async with company_network(fake.port, tmp_path / "pki") as network:
        yield network


def build_client(company: CompanyNetwork, keys: Path) -> AsyncClient:
    """Returns the client of a provider's chat model, made as a pod makes it."""
    provider = build_provider(company.base_url)
    assert provider.llm
    return ModelClients(keys).build(provider, "llm", provider.llm)


async def test_models_are_reached_by_what_the_environment_says(
    fake: FakeOpenAI, company: CompanyNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in company.environment.items():
        monkeypatch.setenv(name, value)
    async with build_client(company, tmp_path) as client:
        await client.audio.speech.create(model="speech", voice="alloy", input="Hello there.")
    assert fake.spoken == ["Hello there."]
    assert company.asked == [f"{HOST}:443"]


async def test_an_authority_that_nobody_was_told_of_is_not_trusted(
    company: CompanyNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("HTTPS_PROXY", company.environment["HTTPS_PROXY"])
    async with build_client(company, tmp_path) as client:
        with pytest.raises(APIConnectionError) as raised:
            await client.models.list()
    assert "CERTIFICATE_VERIFY_FAILED" in str(raised.value.__cause__)
    assert company.asked == [f"{HOST}:443"]
