"""What of a provider the code of a pod finds in its environment (`provider_models`)."""

import os
from pathlib import Path

import pytest

from voice_agent.model_clients import ModelClients
from voice_agent.provider_models import ModelShelf
from voicesession.models import LlmModel, Provider, SecretRef

KEY = SecretRef(name="acme")
PROVIDER = Provider(name="acme", llm=LlmModel(base_url="https://acme.example/v1", model="m"), secret_ref=KEY)
NAMES = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_API_BASE")


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without them, as it was again afterwards."""
    for name in NAMES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return monkeypatch


def export(keys: Path) -> list[str | None]:
    (keys / "acme").mkdir()
    (keys / "acme" / "api-key").write_text("acmes-key")
    shelf = ModelShelf([PROVIDER], ModelClients(keys))
    shelf.export(PROVIDER)
    shelf.export(PROVIDER)
    return [os.environ.get(name) for name in NAMES]


@pytest.mark.usefixtures("environment")
def test_code_without_a_key_of_its_own_finds_the_providers(tmp_path: Path) -> None:
    assert export(tmp_path) == ["acmes-key", "https://acme.example/v1", "https://acme.example/v1"]


@pytest.mark.parametrize(
    ("own", "found"),
    [
        ({"OPENAI_API_KEY": "own"}, ["own", None, None]),
        ({"OPENAI_BASE_URL": "https://own.example/v1"}, [None, "https://own.example/v1", None]),
        ({"OPENAI_API_BASE": "https://own.example/v1"}, [None, None, "https://own.example/v1"]),
    ],
)
def test_a_key_of_the_pools_own_goes_to_no_provider_and_the_providers_to_no_address_of_the_pool(
    tmp_path: Path, environment: pytest.MonkeyPatch, own: dict[str, str], found: list[str | None]
) -> None:
    for name, value in own.items():
        environment.setenv(name, value)
    assert export(tmp_path) == found
