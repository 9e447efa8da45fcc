"""A pod behind a company's proxy, with models whose certificate only the company's authority vouches for."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from testing.agent_pod import build_assignment, build_provider, running_pod
from testing.company_network import HOST, CompanyNetwork, company_network
from testing.customer import joined_room
from testing.fake_openai import FakeOpenAI
from testing.livekit import LiveKitServer, new_room
from testing.waiting import eventually


@pytest.fixture
async def company(fake: FakeOpenAI, tmp_path: Path) -> AsyncIterator[CompanyNetwork]:
    """The models' network."""
    async with company_network(fake.port, tmp_path / "pki") as network:
        yield network


async def test_models_are_reached_by_what_the_pools_env_says(
    livekit: LiveKitServer, fake: FakeOpenAI, company: CompanyNetwork
) -> None:
    fake.transcripts.append("a table for two")
    async with running_pod([build_provider(company.base_url)], **company.environment) as pod:
        room = new_room()
        await pod.assign(build_assignment(livekit, room))
        async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
            await customer.until_said("Hello there.")
            await customer.type("good morning")
            await customer.until_said("You said: good morning.")
    assert fake.spoken
    assert fake.chats
    assert set(company.asked) == {f"{HOST}:443"}, "LiveKit's address is ws://: it is no proxy's"


async def test_an_authority_that_nobody_was_told_of_is_not_trusted(
    livekit: LiveKitServer, fake: FakeOpenAI, company: CompanyNetwork
) -> None:
    environment = {name: value for name, value in company.environment.items() if name != "SSL_CERT_FILE"}
    async with running_pod([build_provider(company.base_url)], **environment) as pod:
        room = new_room()
        await pod.assign(build_assignment(livekit, room))
        async with joined_room(livekit.url, livekit.customer_token(room)):
            await eventually(lambda: "provider 'fake' failed at a text-to-speech request" in pod.log)
    assert company.asked
    assert not fake.spoken
