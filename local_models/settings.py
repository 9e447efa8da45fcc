"""What the local models are told by their environment."""

from typing import Annotated, Literal, get_args

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Service = Literal["stt", "tts", "chat"]
ALL_SERVICES: tuple[Service, ...] = get_args(Service)


class LocalModelsSettings(BaseSettings):
    """Read once at start, from variables that begin with LOCAL_MODELS_.

    The address is LISTEN_HOST and LISTEN_PORT: LOCAL_MODELS_PORT is what Kubernetes itself puts into pods
    beside a Service called local-models.
    """

    model_config = SettingsConfigDict(env_prefix="LOCAL_MODELS_", hide_input_in_errors=True)

    listen_host: str = "0.0.0.0"  # noqa: S104 - a pod's server
    listen_port: int = Field(default=8000, ge=0, le=65535)
    services: Annotated[tuple[Service, ...], NoDecode] = ALL_SERVICES
    """Comma-separated: which of stt, tts and chat to run. Models of the others are not loaded."""
    api_key: SecretStr | None = None
    """When set, every /v1 request must carry it as a bearer token."""
    threads: int = Field(default=1, ge=1)
    """Processor threads for one transcription; synthesis takes one. Two spin on cores that others need, for little."""
    concurrency: int = Field(default=1, ge=1)
    """Pieces of work at once, for stt and tts each."""
    queue_limit: int = Field(default=16, ge=0)
    """Requests that may wait before stt and tts each; one more gets 429."""
    queue_timeout_seconds: float = Field(default=20.0, gt=0)
    """The longest a request waits in the queue; then it gets 429."""
    max_audio_seconds: float = Field(default=120.0, gt=0)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(default="INFO", validation_alias="LOG_LEVEL")

    @field_validator("services", mode="before")
    @classmethod
    def _split_services(cls, value: object) -> object:
        return tuple(name.strip() for name in value.split(",") if name.strip()) if isinstance(value, str) else value

    @field_validator("services")
    @classmethod
    def _refuse_no_services(cls, value: tuple[Service, ...]) -> tuple[Service, ...]:
        if not value:
            raise ValueError(f"name at least one of {', '.join(ALL_SERVICES)}")
        return value
