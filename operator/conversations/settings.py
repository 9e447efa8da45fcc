"""What the migrations read from the environment."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class MigrationSettings(BaseSettings):
    """The owner's connection, and what the roles and the functions are to know."""

    # What is wrong is said in the log, where passwords have no place.
    model_config = SettingsConfigDict(hide_input_in_errors=True)

    database_url: SecretStr
    conversation_key_file: Path
    agent_database_password: SecretStr
    reader_database_password: SecretStr
    closer_database_password: SecretStr
    database_wait_seconds: float = Field(default=300, ge=0)  # until the database must be reachable
    log_level: str = "INFO"

    def passwords(self) -> dict[str, str]:
        """Returns the roles that services log in as, with their passwords."""
        return {
            "voice_agent": self.agent_database_password.get_secret_value(),
            "voice_reader": self.reader_database_password.get_secret_value(),
            "voice_closer": self.closer_database_password.get_secret_value(),
        }
