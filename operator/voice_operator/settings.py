"""What the operator is told by its environment."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from voice_telemetry.start import LogLevel
from voicesession.admission_settings import AdmissionSettings
from voicesession.key_files import load_key
from voicesession.live_calls import CALLS_PORT
from voicesession.pod_tokens import load_private_key, public_key_pem
from voicesession.tickets import TicketKey


class OperatorSettings(AdmissionSettings, BaseSettings):
    """Read once at start; see docs/reference/environment.md."""

    # What is wrong is said in the log, where secrets have no place.
    model_config = SettingsConfigDict(hide_input_in_errors=True)

    namespace: str = Field(default="default", description="The one namespace that the operator looks after.")
    log_level: LogLevel = Field(default="INFO", description="Lowest level of what is logged, here and by the agents.")
    otel_exporter_otlp_endpoint: str = Field(
        default="",
        description="Where spans of calls are sent, by agents too, a collector's OTLP/HTTP base URL; nowhere "
        "where empty.",
    )
    http_port: int = Field(default=8080, description="Port of `/healthz`, `/readyz` and `/metrics`.")
    calls_port: int = Field(
        default=CALLS_PORT,
        description="Port of `/calls` for `kubectl voice top`, on the loopback address alone: nobody reaches it but by "
        "`kubectl port-forward`.",
    )

    release_name: str = Field(default="", description="The helm release; another one's operators stand aside.")
    pod_name: str = Field(default="", description="The pod's name, by which it holds the Lease.")
    node_name: str = Field(default="", description="The pod's node: who leads next can tell that it was lost.")
    watch_silence_seconds: float = Field(
        default=75.0,
        gt=0,
        description="The watches begin anew where one of them was not heard for so many seconds; quiet ones are asked "
        "for anew after a quarter of it, and `/healthz` fails a fifth later.",
    )

    livekit_url: str = Field(description="LiveKit as the operator reaches it, `ws://` or `wss://`.")
    livekit_api_key: str = Field(description="LiveKit's API key.")
    livekit_api_secret: SecretStr = Field(description="Its secret; signs the agents' room tokens.")
    agent_livekit_url: str = Field(
        default="",
        description="LiveKit as agent pods reach it; `LIVEKIT_URL` where empty. "
        "In a `ws://` URL a Service's name is replaced by its address.",
    )

    signing_key_file: Path = Field(description="File with the Ed25519 key (PEM) that signs pod tokens.")
    conversation_key_file: Path = Field(description="File with the key of the conversations' write tokens.")
    installation_key_file: Path = Field(
        description="File with the key that signs call tickets; the token service's is the same."
    )
    own_service_accounts: list[str] = Field(
        default=[], description="The release's own ServiceAccounts, as a JSON list: no agent pod is made one of them."
    )
    agent_database_secret: str = Field(
        default="", description="Name of the Secret whose key `url` agent pods get as their `DATABASE_URL`."
    )
    agent_database_version: str = Field(
        default="", description="Another one for each content of that Secret: pods that wait with an older one go."
    )
    agent_user_id: int | None = Field(
        default=None,
        ge=1,
        description="The user and group that agent pods run as; whom the platform chooses without it.",
    )
    database_url: SecretStr | None = Field(
        default=None,
        description="The database as role `voice_closer`; without it, conversations of agents that died stay open.",
    )

    no_pod_timeout_seconds: float = Field(
        default=15.0, gt=0, description="How long a call waits for a pod before it fails, in seconds."
    )
    room_poll_seconds: float = Field(
        default=5.0, gt=0, description="Time between two looks at LiveKit's rooms, in seconds."
    )
    resync_seconds: float = Field(
        default=60.0, gt=0, description="Time between two full lists of everything watched, in seconds."
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
        KeyFileError: another key cannot be read or is too short.
    """

    def __init__(self, settings: OperatorSettings) -> None:
        self.signing = load_private_key(settings.signing_key_file.read_text())
        self.public_pem = public_key_pem(self.signing)
        self.conversation = load_key(settings.conversation_key_file)
        self.tickets = TicketKey(load_key(settings.installation_key_file))
