"""Writes what agents could not write of their conversations, as the role voice_closer: ends, and late rows."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import DictRow

from conversations.pool import PoolUser, build_pool, connection_of
from voicesession.models import EndReason
from voicesession.spool import Spooled


class DeliveryRefusedError(Exception):
    """The database refuses to take a conversation, today and perhaps for ever; the message says why, without words."""


@dataclass(frozen=True, slots=True)
class OpenConversation:
    """A conversation without an end, and the youngest attempt that has written to it."""

    session_id: str
    attempts: int


class ConversationCloser(PoolUser):
    """Closes and delivers over at most two connections; `async with`, or `open` and `close`.

    Every method raises ConversationsUnavailableError where the database cannot be reached.
    """

    def __init__(self, database_url: str) -> None:
        super().__init__(build_pool(database_url, min_connections=0, max_connections=2))

    async def close_conversation(
        self, session_id: str | UUID, attempt: int, end_reason: EndReason, ended_at: datetime | None = None
    ) -> bool:
        """Sets the end of the conversation if nobody did, and no later attempt has it. Tells whether it did.

        `ended_at` None: at its last word.
        """
        statement = "SELECT voice.close_conversation(%s, %s, %s, %s) AS closed"
        async with connection_of(self._pool) as connection:
            rows = await connection.execute(statement, (UUID(str(session_id)), attempt, end_reason.value, ended_at))
            row = await rows.fetchone()
            return bool(row and row["closed"])

    async def list_open(self, after: str | None = None) -> list[OpenConversation]:
        """Returns a page of the conversations without an end, in order of their ids; none when `after` was the last."""
        async with connection_of(self._pool) as connection:
            rows = await connection.execute("SELECT * FROM voice.open_conversations(%s)", (after and UUID(after),))
            return [OpenConversation(str(row["session_id"]), row["attempts"]) for row in await rows.fetchall()]

    async def end_overdue(self, seconds: float) -> int:
        """Ends what agents have asked of the database for longer than this; returns how many statements that were."""
        async with connection_of(self._pool) as connection:
            rows = await connection.execute("SELECT voice.end_overdue(%s) AS ended", (timedelta(seconds=seconds),))
            row = await rows.fetchone()
            return int(row["ended"]) if row else 0

    async def deliver(self, session_id: str, attempt: int, write_token: str, spooled: Spooled) -> int:
        """Writes what an attempt could not write itself; again changes nothing. Returns how many rows are refused.

        Raises:
            DeliveryRefusedError: the database takes none of it.
        """
        key = (UUID(session_id), attempt, write_token)
        async with connection_of(self._pool) as connection:
            if await _deliver(connection, key, spooled, spooled.items):
                return 0
            # One that cannot be stored takes its whole batch along: the others go one by one.
            stored = [await _deliver(connection, key, spooled, [item]) for item in spooled.items]
            return stored.count(False)


async def _deliver(
    connection: AsyncConnection[DictRow], key: tuple[UUID, int, str], spooled: Spooled, items: Sequence[dict[str, Any]]
) -> bool:
    """Delivers these items; tells whether they can be stored."""
    started, ended = spooled.started.to_wire(), spooled.ended and spooled.ended.to_wire()
    texts = (json.dumps(started), json.dumps(list(items)), json.dumps(ended or {}))
    try:
        await connection.execute("SELECT voice.deliver_conversation(%s, %s, %s, %s, %s, %s)", (*key, *texts))
    except (psycopg.DataError, psycopg.IntegrityError):
        if not items:
            raise DeliveryRefusedError("its first row or its end cannot be stored") from None
        return False
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        raise DeliveryRefusedError(f"SQLSTATE {error.sqlstate}") from None
    return True
