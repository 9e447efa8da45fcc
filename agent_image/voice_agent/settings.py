"""What the pod's environment says, read once.

Validated by pydantic alone: pydantic-settings costs every waiting pod 3 MB.
"""

from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, Json, SecretStr, model_validator

from voice_telemetry.start import LogLevel
from voicesession.assignment import PROTOCOL
from voicesession.models import PoolMcpServer, Provider
from voicesession.names import AGENT_PORT
from voicesession.pod_environment import LIVEKIT_SECRETS
from voicesession.provider_keys import KEYS_FOLDER


class AgentSettings(BaseModel):
    """The environment of an agent pod, which the operator's pod template sets; see docs/reference/environment.md.

    Each field is the variable of the same name in capitals.
    """

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    pod_uid: str = Field(min_length=1, description="The pod's uid: the audience of the operator's tokens.")
    pod_name: str = Field(min_length=1, description="The pod's name.")
    operator_public_key: str = Field(
        min_length=1, description="Ed25519 key (PEM) that requests from the operator are checked by."
    )
    operator_protocol: int = Field(
        default=PROTOCOL, description="How the operator speaks with its pods; an image that does not know it ends."
    )
    pod_seal_key: SecretStr = Field(
        default=SecretStr(""), description="The pod's own key (Base64), by which the operator seals what it tells it."
    )
    agent_code: str = Field(default="", description="The pool's `code`: `module:Name`, or empty for the profile alone.")
    agent_vad: Literal["native", "silero"] = Field(default="native", description="What detects speech.")
    agent_hang_seconds: int = Field(
        default=15, ge=0, description="The pool's `hangSeconds`: a pod whose event loop stands still for so long ends."
    )
    agent_inference: Literal["Pool", "LiveKit"] = Field(
        default="Pool", description="The pool's `inference`: who serves what code asks of LiveKit Inference."
    )
    agent_providers: Json[list[Provider]] = Field(description="The pool's providers, as a JSON list.")
    agent_mcp_servers: Json[list[PoolMcpServer]] = Field(
        default=[], description="The pool's tool servers, as a JSON list."
    )
    agent_log_level: LogLevel = Field(default="INFO", description="Lowest level of what is logged.")
    otel_exporter_otlp_endpoint: str = Field(
        default="",
        description="Where spans of the call are sent, a collector's OTLP/HTTP base URL; nowhere where empty.",
    )
    database_url: SecretStr | None = Field(
        default=None, description="The database as role `voice_agent`; without it nothing of a call is written."
    )
    agent_grace_seconds: float = Field(
        default=15.0, description="How long Kubernetes waits for a pod that it has told to stop."
    )
    # Where Kubernetes puts things in a pod.
    agent_address: str = Field(
        default="", description="Address to listen at, where empty all of them, IPv6 ones too; another only in tests."
    )
    agent_port: int = Field(default=AGENT_PORT, description="Port to listen at; another only in tests and on a laptop.")
    provider_keys_folder: Path = Field(
        default=Path(KEYS_FOLDER),
        description="Folder of the files `<provider>/api-key`, `<provider>.<part>/api-key` and "
        "`<provider>.<part>.<header>/api-key`; another only in tests and on a laptop.",
    )
    termination_log: Path = Field(
        default=Path("/dev/termination-log"),
        description="File for the reason of the end; another only in tests and on a laptop.",
    )

    @property
    def log_level(self) -> LogLevel:
        """Returns the lowest level that is logged."""
        return self.agent_log_level

    @model_validator(mode="after")
    def _names_are_unique(self) -> "AgentSettings":
        names = [provider.name for provider in self.agent_providers]
        if len(names) != len(set(names)):
            raise ValueError("AGENT_PROVIDERS names a provider twice")
        return self


def read_settings(environment: Mapping[str, str]) -> AgentSettings:
    """Returns the settings.

    Raises:
        pydantic.ValidationError: a variable is missing or wrong.
    """
    values = {name: environment[name.upper()] for name in AgentSettings.model_fields if name.upper() in environment}
    if not values.get("database_url"):
        values.pop("database_url", None)
    return AgentSettings.model_validate(values)


def drop_livekit_secrets(environment: MutableMapping[str, str]) -> list[str]:
    """Takes LiveKit's secrets out, which come with a project's whole .env file; returns the names of those there were.

    Whoever has them can enter and close every room of that LiveKit.
    """
    return sorted(name for name in LIVEKIT_SECRETS if environment.pop(name, None))
