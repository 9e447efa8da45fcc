"""Writes a conversation to Postgres beside the call: never in its way, and through an outage."""

import asyncio
import contextlib
import logging
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, LiteralString, cast

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from voice_agent.conversation_items import POSITIONS_PER_ATTEMPT, Row
from voice_agent.places import Places
from voice_agent.text import clean
from voice_agent.traces import traced
from voice_agent.waiting_rows import WaitingRows
from voicesession import clock
from voicesession.spool import Spool, SpooledEnd, SpooledStart, build_spool, spool_key

CONNECT_SECONDS = 5.0
WRITE_SECONDS = 10.0
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 3.0
_BATCH = 200
# What a successor is told by word of mouth: far more than is said while it prepares itself.
_RECENT = 60
# What the database will refuse again. A schema of the release before knows neither drafts nor memory.
_REFUSED = (psycopg.DataError, psycopg.IntegrityError, psycopg.ProgrammingError)

# What our own functions raise; their words are ours.
_OUR_STATES = "VA"
_WRONG_TOKEN = "VA001"  # noqa: S105
_OLDER_ATTEMPT = "VA002"
_ENDED = "VA003"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ConversationStart:
    """Which conversation is written, and what its first row says."""

    session_id: str
    attempt: int
    write_token: str
    room_id: str
    participant_id: str | None
    llm_provider: str
    is_local_mode: bool
    profile: str
    tenant: str | None


@dataclass(frozen=True)
class History:
    """What earlier attempts have left: the conversation's rows in their order, and what was kept, by its name."""

    rows: list[dict[str, Any]]
    memory: dict[str, Any]


class _GivenUpError(Exception):
    """The database will never take these writes; the message says why."""


@dataclass(frozen=True)
class _Kept:
    """A value to be written, and whether it was."""

    value: Any
    written: asyncio.Future[bool]


class ConversationLog:
    """The writer of one conversation. Without a database URL it keeps nothing."""

    def __init__(self, database_url: str | None, start: ConversationStart, on_superseded: Callable[[], None]) -> None:
        """`on_superseded` is called when the database says that a later attempt has taken the conversation over."""
        self._url = database_url
        self._start = start
        self._on_superseded = on_superseded
        self._waiting = WaitingRows()
        self._recent: deque[Row] = deque(maxlen=_RECENT)
        self._drafts: dict[str, Row] = {}
        self._memory: dict[str, _Kept] = {}
        self.kept: dict[str, Any] = {}  # what was kept last, by its name, whether the database has it or not
        self._places = Places(start.attempt * POSITIONS_PER_ATTEMPT)
        self._begun_at: datetime | None = None
        self._end: SpooledEnd | None = None
        self._finishing = False
        self._wanted = asyncio.Event()
        self._hurried = asyncio.Event()
        self._done = False
        self._task: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[History] | None = None
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._started: ConversationStart | None = None  # as it was written
        self._spool: Spool | None = None
        self.taken = 0  # rows, so far
        self.lost = 0  # items that the database refused, or that there was no room for

    @property
    def unwritten(self) -> int:
        """How many items have not reached the database yet, or never will."""
        return len(self._waiting) + self.lost

    @property
    def end_written(self) -> bool:
        """Whether the database has everything, and the end; or nothing is kept anyway."""
        return self._done and (self._end is not None or self._url is None)

    def begin(self) -> None:
        """Starts to write, in the background; the conversation's row first."""
        if self._url is None:
            log.warning("there is no DATABASE_URL: this conversation is not kept")
            self._done = True
            return
        self._begun_at = clock.now()
        self._wanted.set()
        self._task = asyncio.create_task(self._write_until_done(), name="conversation log")

    def name_customer(self, identity: str) -> None:
        """Says who the customer is, which was not known at the start."""
        self._start = replace(self._start, participant_id=identity)
        self._wanted.set()

    def append(self, rows: list[Row]) -> None:
        """Takes rows; one without a position gets that of its time, after those of the same. Never waits."""
        self.adopt(
            [{"position": row.get("position") or self._places.find(row["createdAt"]), **clean(row)} for row in rows]
        )

    def adopt(self, rows: list[Row]) -> None:
        """Takes rows with the positions that an earlier attempt has given them: written twice, they are there once."""
        for row in rows:
            self.taken += 1
            self._recent.append(row)
            self._drafts.pop(row["itemId"], None)
            if self._url is None:
                continue
            if not self._waiting.add(row):
                self.lost += 1
        self._wanted.set()

    def recent(self, since: int = 0) -> list[Row]:
        """Returns the newest rows that were taken after the first `since`, in order; not all that there are."""
        return list(self._recent)[-(self.taken - since) :] if self.taken > since else []

    def next_position(self) -> int:
        """Returns the place of what comes now, for a row that is given later."""
        return self._places.find(clock.now().isoformat())

    def draft(self, row: Row) -> None:
        """Takes what has been said so far of a message, with its position: written soon, or never. Never waits."""
        if self._url is not None and not self._finishing:
            self._drafts[row["itemId"]] = clean(row)
            self._wanted.set()

    async def save(self, name: str, value: Any, timeout: float) -> bool:
        """Keeps a JSON value for a later attempt, in place of the one of this name.

        Returns whether the database has it within `timeout` seconds; where it has not, the writing goes on.
        """
        written = self.keep(name, value)
        await asyncio.wait({written}, timeout=timeout)
        return written.done() and written.result()

    def keep(self, name: str, value: Any) -> asyncio.Future[bool]:
        """As `save`, without waiting; returns what tells whether it was written."""
        self.kept[name] = clean(value)
        before = self._memory.get(name)
        written = before.written if before else asyncio.get_running_loop().create_future()
        if self._url is not None and not self._finishing:
            self._memory[name] = _Kept(self.kept[name], written)
            self._wanted.set()
        elif not written.done():
            written.set_result(False)
        return written

    async def load_history(self, timeout: float) -> History | None:
        """Returns what earlier attempts have left; None where there is no database, or no answer in time."""
        if self._url is None:
            return None
        # In a task that can be left behind: psycopg holds up whoever cancels a statement, for as long as 10 s.
        self._reading = asyncio.create_task(self._read_history(), name="conversation history")
        try:
            async with asyncio.timeout(timeout):
                return await asyncio.shield(self._reading)
        except (psycopg.Error, OSError, TimeoutError) as error:
            log.exception("the conversation so far could not be loaded", extra={"reason": _describe(error)})
            return None
        finally:
            self._reading.cancel()

    async def finish(self, end: SpooledEnd | None, timeout: float) -> bool:
        """Writes what is left and the end; returns whether the database has it all within `timeout` seconds.

        Where it has not, the writing goes on: see `until_written` and `spool`. Without an end another attempt goes on.
        """
        self._end = end
        self._finishing = True
        self._wanted.set()
        self._hurried.set()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=timeout)
        return self._done

    async def until_written(self) -> None:
        """Returns when the database has it all: never, where it refuses."""
        if self._task is not None:
            await asyncio.wait({self._task})
        if not self._done:
            await asyncio.Event().wait()

    def spool(self) -> Spool | None:
        """Returns what the database has not got, sealed, for somebody else to deliver; None where there is nothing.

        Always the same from the first time on: it is to be asked for when nothing more is said.
        """
        if self._done or not self._finishing or self._begun_at is None or not (self._waiting or self._end):
            return None
        if self._spool is None:
            key = spool_key(*self._who())
            self._spool = build_spool(key, self._first_row(), self._waiting.all(), self._end)
        return self._spool

    def _first_row(self) -> SpooledStart:
        start = self._start
        return SpooledStart(
            room_id=start.room_id,
            participant_id=start.participant_id,
            llm_provider=start.llm_provider,
            is_local_mode=start.is_local_mode,
            profile=start.profile,
            tenant=start.tenant,
            started_at=self._begun_at,
        )

    async def _read_history(self) -> History:
        # A connection of its own: the writer may open its own at the same time.
        with traced("read rows"):
            return await self._ask_for_history()

    async def _ask_for_history(self) -> History:
        async with await self._open_connection() as connection:
            cursor = connection.cursor(row_factory=dict_row)
            await cursor.execute("SELECT * FROM voice.load_history(%s, %s, %s)", self._who())
            rows = await cursor.fetchall()
            try:
                await cursor.execute("SELECT * FROM voice.load_memory(%s, %s, %s)", self._who())
            except psycopg.errors.UndefinedFunction:
                return History(rows, {})
            return History(rows, {row["name"]: row["value"] for row in await cursor.fetchall()})

    async def _write_until_done(self) -> None:
        failures = 0
        while not self._done:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                async with asyncio.timeout(WRITE_SECONDS):
                    await self._write_waiting()
                failures = 0
            except _GivenUpError:
                log.exception("the conversation is not written any more")
                return
            except (psycopg.Error, OSError, TimeoutError) as error:
                failures += 1
                pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(failures, 10)) * random.uniform(0.5, 1.0)  # noqa: S311
                log.warning(
                    "the database cannot be written",
                    extra={"reason": _describe(error), "items": len(self._waiting)},
                )
                await self._disconnect()
                # The end does not wait, once: it has little time.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._hurried.wait()
                self._hurried.clear()
                self._wanted.set()
            except Exception:
                log.exception("the writer of the conversation failed")
                return
        await self._disconnect()

    async def _write_waiting(self) -> None:
        connection = await self._connect()
        start = self._start
        if self._started != start:
            arguments = (*self._who(), start.room_id, start.participant_id, start.llm_provider)
            await self._call(
                connection,
                "SELECT voice.start_conversation(%s, %s, %s, %s, %s, %s, %s, %s, %s)",
                (*arguments, start.is_local_mode, start.profile, start.tenant),
            )
            self._started = start
        while batch := self._waiting.first(_BATCH):
            with traced("write rows", rows=len(batch)):
                await self._append(connection, batch)
            self._waiting.drop(len(batch))
        for item_id, row in list(self._drafts.items()):
            await self._write_side(connection, "SELECT voice.write_draft(%s, %s, %s, %s)", Jsonb(row))
            if self._drafts.get(item_id) is row:
                del self._drafts[item_id]
        for name, kept in list(self._memory.items()):
            statement: LiteralString = "SELECT voice.save_memory(%s, %s, %s, %s, %s)"
            is_written = await self._write_side(connection, statement, name, Jsonb(kept.value))
            if self._memory.get(name) is kept:
                del self._memory[name]
                kept.written.set_result(is_written)
        if self._waiting:
            # They came while a draft or memory was written, by a slow database; after an end none is taken.
            self._wanted.set()
            return
        if self._end is not None:
            end = self._end
            with traced("write the end"):
                await self._call(
                    connection,
                    "SELECT voice.end_conversation(%s, %s, %s, %s, %s, %s)",
                    (*self._who(), end.reason, end.ended_at, Jsonb(end.usage)),
                )
        # Without an end, what has come during the last write is somebody else's to know.
        is_empty = self._end is not None or not (self._waiting or self._drafts)
        self._done = self._finishing and is_empty

    async def _write_side(
        self, connection: psycopg.AsyncConnection[Any], statement: LiteralString, *arguments: object
    ) -> bool:
        """Writes what is no item; returns False where the database refuses it."""
        try:
            await self._call(connection, statement, (*self._who(), *arguments))
        except _REFUSED as error:
            log.warning("a draft or memory was refused by the database", extra={"reason": _describe(error)})
            return False
        return True

    async def _append(self, connection: psycopg.AsyncConnection[Any], rows: list[Row]) -> None:
        try:
            await self._call(connection, "SELECT voice.append_items(%s, %s, %s, %s)", (*self._who(), Jsonb(rows)))
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            if len(rows) == 1:
                self.lost += 1
                log.exception("an item was refused by the database and is lost", extra={"reason": _describe(error)})
                return
            for row in rows:
                await self._append(connection, [row])

    async def _call(
        self, connection: psycopg.AsyncConnection[Any], statement: LiteralString, arguments: tuple[object, ...]
    ) -> None:
        try:
            await connection.execute(statement, arguments)
        except psycopg.Error as error:
            if error.sqlstate == _OLDER_ATTEMPT:
                self._on_superseded()
                raise _GivenUpError("a later attempt has taken the conversation over") from error
            if error.sqlstate in {_WRONG_TOKEN, _ENDED}:
                raise _GivenUpError(_describe(error)) from error
            raise

    def _who(self) -> tuple[str, int, str]:
        return (self._start.session_id, self._start.attempt, self._start.write_token)

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        if self._connection is None:
            self._connection = await self._open_connection()
        return self._connection

    async def _open_connection(self) -> psycopg.AsyncConnection[Any]:
        async with asyncio.timeout(CONNECT_SECONDS):
            # Through PgBouncer's statement pooling: no transactions, no prepared statements, no state of the session's.
            return await psycopg.AsyncConnection.connect(
                cast("str", self._url), autocommit=True, prepare_threshold=None
            )

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error, OSError):
                await connection.close()


def _describe(error: Exception) -> str:
    """Returns what went wrong without what was to be written: Postgres's texts may quote a value."""
    if isinstance(error, psycopg.Error) and error.sqlstate:
        # Beside our functions' words only those about connections and the like quote nothing.
        is_safe = error.sqlstate.startswith(_OUR_STATES) or isinstance(error, psycopg.OperationalError)
        return f"{error.sqlstate}: {error.diag.message_primary if is_safe else type(error).__name__}"
    if isinstance(error, psycopg.OperationalError):
        return str(error).splitlines()[0]
    return type(error).__name__
