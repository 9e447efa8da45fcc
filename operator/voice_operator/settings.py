"""What the operator is told by its environment."""

from datetime import timedelta
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from conversations.write_key import load_conversation_key
from voicesession.admission import AdmissionLimits
from voicesession.pod_tokens import load_private_key, public_key_pem


class OperatorSettings(BaseSettings):
    """Read once at start; see docs/contracts.md."""

    # What is wrong is said in the log, where secrets have no place.
    model_config = SettingsConfigDict(hide_input_in_errors=True)

    namespace: str = "default"
    log_level: str = "INFO"
    http_port: int = 8080

    livekit_url: str
    livekit_api_key: str
    livekit_api_secret: SecretStr
    # What agent pods are told; LiveKit's cluster-internal address unless set.
    agent_livekit_url: str = ""

    signing_key_file: Path
    conversation_key_file: Path
    agent_database_secret: str = ""
    database_url: SecretStr | None = None

    max_ticket_age_seconds: int = Field(default=120, ge=1)
    max_starts_per_call: int = Field(default=3, ge=1)
    tenant_max_sessions: int | None = Field(default=None, ge=0)
    no_pod_timeout_seconds: float = Field(default=15.0, gt=0)
    room_poll_seconds: float = Field(default=5.0, gt=0)
    resync_seconds: float = Field(default=60.0, gt=0)

    @property
    def admission_limits(self) -> AdmissionLimits:
        """Returns what binds every start of a room; the same as the token service's."""
        return AdmissionLimits(
            max_ticket_age=timedelta(seconds=self.max_ticket_age_seconds),
            max_starts_per_call=self.max_starts_per_call,
            tenant_max_sessions=self.tenant_max_sessions,
        )

    @property
    def pod_livekit_url(self) -> str:
        """Returns the LiveKit address that agent pods connect to."""
        return self.agent_livekit_url or self.livekit_url


class Keys:
    """The operator's secrets, read from their files once.

    Raises:
        OSError: the signing key cannot be read.
        ValueError: it is no Ed25519 key.
        ConversationKeyError: the conversation key cannot be read or is too short.
    """

    def __init__(self, settings: OperatorSettings) -> None:
        self.signing = load_private_key(settings.signing_key_file.read_text())
        self.public_pem = public_key_pem(self.signing)
        self.conversation = load_conversation_key(settings.conversation_key_file)
