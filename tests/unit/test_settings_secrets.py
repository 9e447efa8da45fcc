"""Settings that are wrong are told without the secrets beside them: what is told ends in a log."""

import pytest
from pydantic import ValidationError
from pydantic_settings import BaseSettings

from conversations.settings import MigrationSettings
from local_models.settings import LocalModelsSettings
from voice_operator.settings import OperatorSettings

SECRET = "a-secret-4711"


@pytest.mark.parametrize(
    ("settings", "environment"),
    [
        (OperatorSettings, {"LIVEKIT_API_SECRET": SECRET}),
        (MigrationSettings, {"CLOSER_DATABASE_PASSWORD": SECRET}),
        (LocalModelsSettings, {"LOCAL_MODELS_API_KEY": SECRET, "LOCAL_MODELS_LISTEN_PORT": SECRET}),
    ],
)
def test_what_is_wrong_is_told_without_secrets(
    settings: type[BaseSettings], environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError) as error:
        settings()
    assert SECRET[-4:] not in str(error.value)
