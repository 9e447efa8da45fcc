"""Reads one conversation's transcript, as the role voice_reader: it can read what it can name, and list nothing."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import field_validator

from conversations.pool import PoolUser, build_pool, connection_of
from voicesession.models import Model


class TranscriptItem(Model):
    """One item of a conversation. `content`: the words as they were heard. Latencies in milliseconds."""

    item_id: str
    position: int
    attempt: int
    kind: Literal["message", "tool_call", "tool_result", "handoff"]
    role: str | None = None
    content: str | None = None
    interrupted: bool = False
    created_at: datetime
    latencies: dict[str, Any] | None = None
    usage: dict[str, Any] | None = None
    tool: dict[str, Any] | None = None

    @field_validator("latencies", "usage", "tool", mode="before")
    @classmethod
    def _pass_over(cls, value: Any) -> Any:
        # Whatever an agent has written there, its other words can be read.
        return value if isinstance(value, dict) else None


class TranscriptReader(PoolUser):
    """Transcripts from a pool of connections; `async with`, or `open` and `close`."""

    def __init__(self, database_url: str, min_connections: int = 5, max_connections: int = 30) -> None:
        super().__init__(build_pool(database_url, min_connections, max_connections))

    async def read_transcript(self, session_id: str | UUID) -> list[TranscriptItem]:
        """Returns the conversation's items in order; none when there is no such conversation.

        Raises:
            ConversationsUnavailableError: the database cannot be reached.
        """
        async with connection_of(self._pool) as connection:
            rows = await connection.execute("SELECT * FROM voice.read_transcript(%s)", (UUID(str(session_id)),))
            return [TranscriptItem.model_validate(row) for row in await rows.fetchall()]
