"""What the pod's environment says, read once.

Validated by pydantic alone: pydantic-settings costs every waiting pod 3 MB.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, Json, SecretStr, ValidationError, field_validator, model_validator

from voicesession.models import Provider
from voicesession.names import AGENT_PORT


class SettingsError(Exception):
    """The environment cannot be used; the message names each variable and what is wrong with it, never its value."""


class AgentSettings(BaseModel):
    """The environment of an agent pod. Each field is the variable of the same name in capitals."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    pod_uid: str = Field(min_length=1)
    pod_name: str = Field(min_length=1)
    operator_public_key: str = Field(min_length=1)
    agent_code: str = ""
    agent_vad: Literal["native", "silero"] = "native"
    agent_providers: Json[list[Provider]]
    agent_log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    database_url: SecretStr | None = None
    # Where Kubernetes puts things in a pod; elsewhere only in tests and on a laptop.
    agent_port: int = AGENT_PORT
    provider_keys_folder: Path = Path("/etc/voice-agent/providers")
    termination_log: Path = Path("/dev/termination-log")

    @field_validator("agent_log_level", mode="before")
    @classmethod
    def _in_capitals(cls, level: object) -> object:
        return level.upper() if isinstance(level, str) else level

    @model_validator(mode="after")
    def _names_are_unique(self) -> "AgentSettings":
        names = [provider.name for provider in self.agent_providers]
        if len(names) != len(set(names)):
            raise ValueError("AGENT_PROVIDERS names a provider twice")
        return self


def read_settings(environment: Mapping[str, str]) -> AgentSettings:
    """Returns the settings.

    Raises:
        SettingsError: a variable is missing or wrong.
    """
    values = {name: environment[name.upper()] for name in AgentSettings.model_fields if name.upper() in environment}
    if not values.get("database_url"):
        values.pop("database_url", None)
    try:
        return AgentSettings.model_validate(values)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in item['loc']).upper() or 'environment'}: {item['msg']}"
            for item in error.errors(include_input=False, include_url=False)
        )
        raise SettingsError(f"the pod's environment is wrong: {wrong}") from None
