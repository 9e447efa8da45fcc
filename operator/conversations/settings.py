"""What the commands read from the environment."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from voice_telemetry.start import LogLevel


class MigrationSettings(BaseSettings):
    """The owner's connection, and what the roles and the functions are to know; see docs/reference/environment.md."""

    # What is wrong is said in the log, where passwords have no place.
    model_config = SettingsConfigDict(hide_input_in_errors=True)

    database_url: SecretStr = Field(description="The database, as its owner.")
    conversation_key_file: Path = Field(description="File with the key of the conversations' write tokens.")
    agent_database_password: SecretStr = Field(description="Password to give the role `voice_agent`.")
    reader_database_password: SecretStr = Field(description="Password to give the role `voice_reader`.")
    closer_database_password: SecretStr = Field(description="Password to give the role `voice_closer`.")
    viewer_database_password: SecretStr | None = Field(
        default=None,
        description="Password to give the role `voice_viewer`, which the call's page has; without it the role may do "
        "nothing.",
    )
    create_database_roles: bool = Field(
        default=True, description="Whether the owner makes the roles. If not, they are only looked at."
    )
    agent_connection_limit: int = Field(
        default=-1,
        ge=-1,
        description="How many connections Postgres grants the role `voice_agent`; -1: as many as there are.",
    )
    database_wait_seconds: float = Field(
        default=300, ge=0, description="How long to wait for a database that may still come, in seconds."
    )
    log_level: LogLevel = Field(default="INFO", description="Lowest level of what is logged.")

    def passwords(self) -> dict[str, str]:
        """Returns the roles that services log in as, with their passwords."""
        passwords = {
            "voice_agent": self.agent_database_password,
            "voice_reader": self.reader_database_password,
            "voice_closer": self.closer_database_password,
            "voice_viewer": self.viewer_database_password,
        }
        return {role: password.get_secret_value() for role, password in passwords.items() if password is not None}


class UndeliveredSettings(BaseSettings):
    """Where to look for what is undelivered: as the operator's."""

    namespace: str = Field(default="default", description="The operator's namespace.")
    log_level: LogLevel = Field(default="WARNING", description="Lowest level of what is logged.")


class PgBouncerSettings(BaseSettings):
    """Where the processes of PgBouncer beside it listen, and by what it asks them."""

    model_config = SettingsConfigDict(hide_input_in_errors=True)

    stats_database_password: SecretStr = Field(description="Password of PgBouncer's user `voice_stats`.")
    agents_port: int = Field(default=6432, description="Port of PgBouncer's process for agents.")
    services_port: int = Field(default=6433, description="Port of PgBouncer's process for the services.")
    metrics_port: int = Field(default=9127, description="Port of `/metrics`.")
    log_level: LogLevel = Field(default="INFO", description="Lowest level of what is logged.")
