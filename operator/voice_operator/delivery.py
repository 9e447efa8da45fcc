"""Delivers to the database what agents could not write: one piece after another, by a loop of its own."""

import asyncio
import contextlib
import logging

from conversations.closer import ConversationCloser, DeliveryRefusedError
from conversations.pool import ConversationsUnavailableError
from conversations.undelivered import Undelivered, UndeliveredPieces
from kube.client import KubernetesError, KubernetesUnavailableError
from voice_operator.backoff import Backoff
from voice_operator.metrics import ROWS_LOST, UNDELIVERED_ROWS
from voice_telemetry.logs import log_context
from voicesession.assignment import conversation_write_token
from voicesession.spool import SpoolError, spool_key

log = logging.getLogger(__name__)

# For pieces that another process has kept, and those that were refused: somebody may have put that right.
LOOK_AGAIN_SECONDS = 60.0


class Delivery:
    """Delivers while `run` runs. Words are in plain text in this process alone, one piece at a time."""

    def __init__(self, pieces: UndeliveredPieces, closer: ConversationCloser, conversation_key: bytes) -> None:
        self._pieces = pieces
        self._closer = closer
        self._key = conversation_key
        self._news = asyncio.Event()

    def wake(self) -> None:
        """Has it look now: something new is kept."""
        self._news.set()

    async def run(self) -> None:
        """Delivers until cancelled."""
        pauses = Backoff(1.0, 30.0)
        while True:
            self._news.clear()
            try:
                await self.deliver_all()
            except (ConversationsUnavailableError, KubernetesError, KubernetesUnavailableError) as error:
                log.warning("what is undelivered cannot be delivered yet", extra={"error": error})
                await asyncio.sleep(pauses.next())
                continue
            except Exception:
                log.exception("delivering failed")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_AGAIN_SECONDS):
                    await self._news.wait()

    async def deliver_all(self) -> None:
        """Delivers what is kept; what cannot be opened, or is refused, stays.

        Raises:
            ConversationsUnavailableError: the database cannot be reached.
            KubernetesError, KubernetesUnavailableError: the API server refuses, or does not answer.
        """
        kept = await self._pieces.list_all()
        left = sum(piece.rows for piece in kept)
        UNDELIVERED_ROWS.set(left)
        for piece in kept:
            with log_context(session=piece.session_id, attempt=piece.attempt):
                if await self._deliver(piece):
                    left -= piece.rows
                    UNDELIVERED_ROWS.set(left)

    async def _deliver(self, piece: Undelivered) -> bool:
        """Delivers one piece; tells whether it is done with."""
        data = await self._pieces.read(piece.name)
        if data is None:
            return True
        token = conversation_write_token(self._key, piece.session_id, piece.attempt)
        try:
            spooled = spool_key(piece.session_id, piece.attempt, token).open(data)
            refused = await self._closer.deliver(piece.session_id, piece.attempt, token, spooled)
        except (SpoolError, DeliveryRefusedError, ValueError) as error:
            log.error("a part of a conversation cannot be delivered", extra={"piece": piece.name, "error": error})  # noqa: TRY400 - whose texts quote nothing
            return False
        if refused:
            ROWS_LOST.inc(refused)
            log.error("rows of a conversation were refused and are lost", extra={"rows": refused})
        await self._pieces.remove(piece.name)
        log.info("a part of a conversation was delivered late", extra={"rows": piece.rows - refused})
        return True
