"""The pooled connections by which services call the database's functions, through PgBouncer."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

WAIT_SECONDS = 5.0
CONNECT_SECONDS = 5

Pool = AsyncConnectionPool[AsyncConnection[DictRow]]


class ConversationsUnavailableError(Exception):
    """The database of conversations cannot be reached just now; ask again later."""


def build_pool(database_url: str, min_connections: int, max_connections: int) -> Pool:
    """Returns a pool that is not open yet."""
    options: dict[str, Any] = {
        "autocommit": True,
        # PgBouncer gives each statement another server connection, so nothing may be prepared in one.
        "prepare_threshold": None,
        "connect_timeout": CONNECT_SECONDS,
        "row_factory": dict_row,
    }
    return AsyncConnectionPool(
        database_url,
        connection_class=AsyncConnection[DictRow],
        kwargs=options,
        min_size=min_connections,
        max_size=max_connections,
        timeout=WAIT_SECONDS,
        # Connections that died while they waited are noticed before somebody is given one.
        check=AsyncConnectionPool.check_connection,
        open=False,
    )


@asynccontextmanager
async def connection_of(pool: Pool) -> AsyncIterator[AsyncConnection[DictRow]]:
    """Lends a connection.

    Raises:
        ConversationsUnavailableError: none within 5 s, or it broke while in use.
    """
    try:
        async with pool.connection() as connection:
            yield connection
    except (PoolTimeout, psycopg.OperationalError) as error:
        raise ConversationsUnavailableError(f"the database of conversations is unavailable: {error}") from error


class PoolUser:
    """What works over a pool of its own: `async with`, or `open` and `close`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def open(self) -> None:
        """Starts connecting in the background: the database may still be down."""
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
