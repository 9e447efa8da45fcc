"""What the token service is told by its environment."""

from datetime import timedelta
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from voicesession.admission import AdmissionLimits


class TokenServiceSettings(BaseSettings):
    """Read once at start; see docs/contracts.md. An empty variable counts as unset."""

    model_config = SettingsConfigDict(env_ignore_empty=True)

    namespace: str = "default"
    log_level: str = "INFO"
    host: str = "0.0.0.0"  # noqa: S104 - it is a server in a pod
    port: int = 3000
    health_port: int = 3001
    kubeconfig: Path | None = None  # outside a cluster

    livekit_url: str
    livekit_public_url: str
    livekit_api_key: str
    livekit_api_secret: SecretStr

    auth_mode: Literal["none", "api-key"] = "api-key"
    api_keys_file: Path | None = None
    cors_allowed_origins: str = ""  # separated by commas; "*" for any

    token_lifetime_seconds: int = Field(default=60, ge=10, le=600)
    max_ticket_age_seconds: int = Field(default=120, ge=1)
    max_starts_per_call: int = Field(default=3, ge=1)
    tenant_max_sessions: int | None = Field(default=None, ge=0)
    allow_caller_rooms: bool = False

    database_url: SecretStr | None = None  # role voice_reader; no transcripts without it
    db_min_connections: int = Field(default=0, ge=0)
    db_max_connections: int = Field(default=4, ge=1)

    web_root: Path | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.auth_mode == "api-key" and self.api_keys_file is None:
            raise ValueError("AUTH_MODE=api-key needs API_KEYS_FILE; for a demo without keys set AUTH_MODE=none")
        if self.token_lifetime_seconds > self.max_ticket_age_seconds:
            raise ValueError("TOKEN_LIFETIME_SECONDS must not exceed MAX_TICKET_AGE_SECONDS")
        return self

    @property
    def cors_origins(self) -> list[str]:
        """Returns the origins whose pages may call."""
        return [origin.strip().rstrip("/") for origin in self.cors_allowed_origins.split(",") if origin.strip()]

    @property
    def admission_limits(self) -> AdmissionLimits:
        """Returns what binds every start of a room."""
        return AdmissionLimits(
            max_ticket_age=timedelta(seconds=self.max_ticket_age_seconds),
            max_starts_per_call=self.max_starts_per_call,
            tenant_max_sessions=self.tenant_max_sessions,
        )
