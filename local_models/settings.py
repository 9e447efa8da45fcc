"""What the local models are told by their environment."""

from typing import Annotated, Literal, get_args

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from voice_telemetry.start import LogLevel

Service = Literal["stt", "tts", "chat"]
ALL_SERVICES: tuple[Service, ...] = get_args(Service)


class LocalModelsSettings(BaseSettings):
    """Read once at start, from variables that begin with LOCAL_MODELS_.

    The address is LISTEN_HOST and LISTEN_PORT: LOCAL_MODELS_PORT is what Kubernetes itself puts into pods
    beside a Service called local-models.
    """

    model_config = SettingsConfigDict(env_prefix="LOCAL_MODELS_", hide_input_in_errors=True)

    listen_host: str = Field(default="", description="Address to listen at; all of them, IPv6 ones too, where empty.")
    listen_port: int = Field(default=8000, ge=0, le=65535, description="Port to listen at.")
    services: Annotated[tuple[Service, ...], NoDecode] = Field(
        default=ALL_SERVICES,
        description="What to run, separated by commas; the models of the others are not loaded.",
    )
    api_key: SecretStr | None = Field(
        default=None, description="When set, every `/v1` request must carry it as a bearer token; another gets 401."
    )
    # Two spin on cores that others need, for little.
    threads: int = Field(
        default=1, ge=1, description="Processor threads of one transcription; synthesis always takes one."
    )
    concurrency: int = Field(default=1, ge=1, description="Pieces of work at once, for stt and tts each.")
    queue_limit: int = Field(
        default=16, ge=0, description="Requests that may wait before stt and tts each; one more gets 429."
    )
    queue_timeout_seconds: float = Field(
        default=20.0, gt=0, description="The longest that a request waits, in seconds; then it gets 429."
    )
    max_audio_seconds: float = Field(default=120.0, gt=0, description="Longest audio to transcribe, in seconds.")
    log_level: LogLevel = Field(
        default="INFO",
        validation_alias="LOG_LEVEL",
        description="Lowest level of what is logged: paths, statuses and times, never words.",
    )

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
