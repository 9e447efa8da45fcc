"""A database of conversations for tests: how to migrate it, and the ways in."""

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row
from pydantic import SecretStr

from conversations.migrate import run_migrations
from conversations.settings import MigrationSettings
from testing.postgres import PostgresServer
from voicesession import clock
from voicesession.assignment import conversation_write_token

PASSWORDS = {
    "voice_agent": "agent-password",
    "voice_reader": "reader-password",
    "voice_closer": "closer-password",
    "voice_viewer": "viewer-password",
}
# When stored conversations begin.
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
KEY = b"a key for tests with more than 32 bytes in it"

Row = dict[str, Any]


@dataclass(frozen=True)
class ConversationsDatabase:
    """One database in a server, and the key of its write tokens."""

    server: PostgresServer
    name: str
    folder: Path
    key: bytes = KEY

    def __post_init__(self) -> None:
        """Writes the key's file."""
        self.key_file.write_bytes(self.key)

    @property
    def key_file(self) -> Path:
        """Returns the file with the key of the write tokens."""
        return self.folder / "conversation-key"

    def settings(self) -> MigrationSettings:
        """Returns what the migration job would read from its environment."""
        return MigrationSettings(
            database_url=SecretStr(self.server.url(self.name)),
            conversation_key_file=self.key_file,
            agent_database_password=SecretStr(PASSWORDS["voice_agent"]),
            reader_database_password=SecretStr(PASSWORDS["voice_reader"]),
            closer_database_password=SecretStr(PASSWORDS["voice_closer"]),
            viewer_database_password=SecretStr(PASSWORDS["voice_viewer"]),
            database_wait_seconds=10,
        )

    def migrate(self, **changed: Any) -> None:
        """Migrates it as the job does; `changed`: settings of the job that are not as usual."""
        run_migrations(self.settings().model_copy(update=changed))

    def url(self, role: str, port: int | None = None) -> str:
        """Returns the URL for one of the services' roles, on the server's port or a PgBouncer's."""
        url = self.server.url(self.name, role, PASSWORDS[role])
        return url if port is None else url.replace(f":{self.server.port}/", f":{port}/")

    def query(self, statement: str, *parameters: Any) -> list[Row]:
        """Returns what the owner sees."""
        with psycopg.connect(self.server.url(self.name), row_factory=dict_row) as connection:
            return connection.execute(statement, parameters).fetchall()

    def new_conversation(self, attempt: int = 1) -> "AgentsConversation":
        """Returns one that has not been started."""
        return AgentsConversation(self, str(uuid.uuid4()), attempt)


@dataclass(frozen=True)
class AgentsConversation:
    """What one attempt of one agent holds: its session's id and a write token."""

    database: ConversationsDatabase
    session_id: str
    attempt: int = 1
    port: int | None = None

    def credentials(self) -> tuple[str, int, str]:
        """Returns the first three arguments of every function."""
        token = conversation_write_token(self.database.key, self.session_id, self.attempt)
        return self.session_id, self.attempt, token

    def call(self, function: str, *arguments: Any) -> list[Row]:
        """Calls a function of the schema with the credentials and these arguments, as the role voice_agent."""
        values = (*self.credentials(), *arguments)
        places = ", ".join(["%s"] * len(values))
        with connect_as(self.database, "voice_agent", self.port) as connection:
            return connection.execute(f"SELECT * FROM voice.{function}({places})", values).fetchall()

    def start(self, participant: str | None = "ada", provider: str | None = "local") -> None:
        self.call("start_conversation", f"room-{self.session_id}", participant, provider, True, "default", "acme")

    def append(self, *items: Row) -> int:
        (row,) = self.call("append_items", json.dumps(items))
        return int(row["append_items"])

    def history(self) -> list[Row]:
        return self.call("load_history")

    def end(self, reason: str = "participant_left") -> None:
        self.call("end_conversation", reason, clock.now(), json.dumps({"llmTokens": 7}))


def connect_as(database: ConversationsDatabase, role: str, port: int | None = None) -> psycopg.Connection[Row]:
    """Returns an autocommitting connection of one of the services' roles, as a service makes it."""
    return psycopg.connect(
        database.url(role, port), autocommit=True, prepare_threshold=None, row_factory=dict_row, connect_timeout=10
    )


def put_conversation(database: ConversationsDatabase, minutes: float = 0, **fields: Any) -> str:
    """Stores a conversation that began so many minutes after noon; returns its id."""
    row = {
        "session_id": uuid.uuid4(),
        "room_id": "room",
        "is_local_mode": False,
        "profile": "default",
        "tenant": "acme",
        "attempts": 1,
        "created_at": NOON + timedelta(minutes=minutes),
        **fields,
    }
    statement = f"INSERT INTO voice.conversation_sessions ({', '.join(row)}) VALUES ({', '.join(['%s'] * len(row))})"
    return str(database.query(f"{statement} RETURNING session_id", *row.values())[0]["session_id"])


def message(position: int, content: str, role: str = "user", **fields: Any) -> Row:
    """Returns an item as agents write them."""
    return {
        "itemId": f"item-{position}",
        "position": position,
        "kind": "message",
        "role": role,
        "content": content,
        "createdAt": f"2026-01-01T12:00:{position % 60:02d}Z",
        **fields,
    }
