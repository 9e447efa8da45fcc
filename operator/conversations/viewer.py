"""Finds conversations and reads them, as the role voice_viewer: a tenant's, or everybody's, for the call's page."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import DictRow

from conversations.pool import ConversationsUnavailableError, connection_of
from conversations.reader import TranscriptReader
from voicesession.models import Model

# In no name of anything, and refused by Postgres.
_NUL = "\0"


class Conversation(Model):
    """One conversation's row; open while `ended_at` is None."""

    session_id: UUID
    room_id: str
    profile: str
    tenant: str | None = None
    llm_provider: str | None = None
    is_local_mode: bool = False
    attempts: int
    created_at: datetime
    ended_at: datetime | None = None
    end_reason: str | None = None
    usage: Any = None


class FoundConversation(Conversation):
    """One of a list. `answers`: how many were measured; `median_answer_millis`: how long the middle one took."""

    answers: int
    median_answer_millis: int | None = None


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for: None and empty are no condition. `tenant` None: everybody's.

    `since` is still in it, `until` no more. `before`: the time and the id of the last one of the page before.
    """

    tenant: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    profile: str | None = None
    reason: str | None = None
    room: str | None = None
    before: tuple[datetime, UUID] | None = None


class ConversationViewer(TranscriptReader):
    """Finds conversations over a pool of connections; `async with`, or `open` and `close`.

    Every method raises ConversationsUnavailableError where the database cannot be reached, or lets nobody find any yet.
    """

    async def list_conversations(self, search: Search, at_most: int) -> list[FoundConversation]:
        """Returns the newest of those that are looked for, the newest first."""
        if search.room and _NUL in search.room:
            return []
        before_at, before_id = search.before or (None, None)
        values = (search.tenant, search.since, search.until, search.profile, search.reason, search.room)
        async with self._connection() as connection:
            rows = await connection.execute(
                "SELECT * FROM voice.list_conversations(%s, %s, %s, %s, %s, %s, %s, %s, %s)",
                (*values, before_at, before_id, at_most),
            )
            return [FoundConversation.model_validate(row) for row in await rows.fetchall()]

    async def find_conversations(self, tenant: str | None, room: str, named: UUID | None = None) -> list[Conversation]:
        """Returns the conversations of a room, the newest first; before them the one that is named. At most 50."""
        if _NUL in room:
            return []
        async with self._connection() as connection:
            rows = await connection.execute("SELECT * FROM voice.find_conversation(%s, %s, %s)", (tenant, room, named))
            return [Conversation.model_validate(row) for row in await rows.fetchall()]

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection[DictRow]]:
        try:
            async with connection_of(self._pool) as connection:
                yield connection
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedFunction) as error:
            # Until the migrations of the upgrade that switches the page on have run.
            raise ConversationsUnavailableError("no migration has let voice_viewer find conversations") from error
