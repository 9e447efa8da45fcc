"""The pod's environment: what is read, and how a wrong one is told."""

import json

import pytest
from pydantic import ValidationError

from voice_agent.settings import drop_livekit_secrets, read_settings
from voice_telemetry.start import describe_wrong_settings

PROVIDER = {"name": "local", "llm": {"baseUrl": "http://models:8000/v1", "model": "rules"}}
RIGHT = {
    "POD_UID": "uid-1",
    "POD_NAME": "default-abc",
    "OPERATOR_PUBLIC_KEY": "-----BEGIN PUBLIC KEY-----",
    "AGENT_PROVIDERS": json.dumps([PROVIDER]),
}


def test_the_operators_environment_is_enough() -> None:
    settings = read_settings({**RIGHT, "UNRELATED": "x"})
    assert settings.agent_code == ""
    assert settings.agent_vad == "native"
    assert settings.agent_port == 8081
    assert settings.database_url is None
    assert [provider.name for provider in settings.agent_providers] == ["local"]
    assert settings.agent_providers[0].llm is not None
    assert settings.agent_providers[0].llm.base_url == "http://models:8000/v1"


def test_a_log_level_in_small_letters() -> None:
    assert read_settings({**RIGHT, "AGENT_LOG_LEVEL": "debug"}).log_level == "DEBUG"


def test_an_empty_database_url_is_none() -> None:
    assert read_settings({**RIGHT, "DATABASE_URL": ""}).database_url is None


def test_the_database_url_does_not_show() -> None:
    settings = read_settings({**RIGHT, "DATABASE_URL": "postgresql://voice_agent:hunter2@db/voice"})
    assert "hunter2" not in repr(settings)
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value().endswith("@db/voice")


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"AGENT_VAD": "loud"}, "AGENT_VAD"),
        ({"AGENT_PROVIDERS": "not json"}, "AGENT_PROVIDERS"),
        ({"AGENT_PROVIDERS": '[{"llm": {"model": "m"}}]'}, "AGENT_PROVIDERS.0.NAME"),
        ({"AGENT_PROVIDERS": json.dumps([PROVIDER, PROVIDER])}, "twice"),
        ({"AGENT_LOG_LEVEL": "verbose"}, "AGENT_LOG_LEVEL"),
    ],
)
def test_a_wrong_variable_is_named(changed: dict[str, str], named: str) -> None:
    assert named in describe({**RIGHT, **changed})


def test_a_missing_variable_is_named() -> None:
    environment = {name: value for name, value in RIGHT.items() if name != "POD_UID"}
    assert describe(environment) == "POD_UID: Field required"


def test_a_wrong_value_is_not_repeated() -> None:
    assert "a-secret-by-mistake" not in describe({**RIGHT, "AGENT_PROVIDERS": "a-secret-by-mistake"})


def test_a_projects_whole_env_file_brings_no_administrator_of_livekit_into_the_pod() -> None:
    file = {"LIVEKIT_URL": "wss://x", "LIVEKIT_API_KEY": "key", "LIVEKIT_API_SECRET": "secret", "DEEPGRAM_API_KEY": "d"}
    assert drop_livekit_secrets(file) == ["LIVEKIT_API_KEY", "LIVEKIT_API_SECRET"]
    assert file == {"LIVEKIT_URL": "wss://x", "DEEPGRAM_API_KEY": "d"}


def describe(environment: dict[str, str]) -> str:
    with pytest.raises(ValidationError) as raised:
        read_settings(environment)
    return describe_wrong_settings(raised.value)
