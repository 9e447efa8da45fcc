"""Closes the book of a conversation whose agent died, as the role voice_closer: it can do nothing else."""

from types import TracebackType
from typing import Self
from uuid import UUID

from conversations.pool import build_pool, connection_of
from voicesession.models import EndReason


class ConversationCloser:
    """Closes conversations over at most two connections; `async with`, or `open` and `close`."""

    def __init__(self, database_url: str) -> None:
        self._pool = build_pool(database_url, min_connections=0, max_connections=2)

    async def open(self) -> None:
        """Makes ready to connect; connects when first needed."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Closes every connection."""
        await self._pool.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close_conversation(self, session_id: str | UUID, end_reason: EndReason) -> bool:
        """Sets the end of the conversation if nobody did. Tells whether it was open.

        Raises:
            ConversationsUnavailableError: the database cannot be reached.
        """
        async with connection_of(self._pool) as connection:
            rows = await connection.execute(
                "SELECT voice.close_conversation(%s, %s) AS closed", (UUID(str(session_id)), end_reason.value)
            )
            row = await rows.fetchone()
            return bool(row and row["closed"])
