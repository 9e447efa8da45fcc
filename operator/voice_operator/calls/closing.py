"""Closes the conversations of agents that died before they could do it themselves."""

import logging

from conversations.closer import ConversationCloser
from voice_operator.keys import Key, Kind
from voice_operator.work_queue import WorkQueue
from voicesession.models import EndReason

log = logging.getLogger(__name__)


class Closing:
    """What is still to be closed; each is retried by the queue until the database has it."""

    def __init__(self, closer: ConversationCloser | None, queue: WorkQueue[Key]) -> None:
        """`closer` None: there is no database, and nothing to close."""
        self._closer = closer
        self._queue = queue
        self._open: dict[str, EndReason] = {}

    def close(self, uid: str, reason: EndReason) -> None:
        """Has the conversation of this VoiceSession closed, beside everything else."""
        if self._closer:
            self._open[uid] = reason
            self._queue.add(Key(Kind.CLOSING, uid))

    async def reconcile_closing(self, uid: str) -> None:
        """Closes one conversation.

        Raises:
            conversations.pool.ConversationsUnavailableError: the database cannot be reached; to be retried.
        """
        reason = self._open.get(uid)
        if reason is None or self._closer is None:
            return
        if await self._closer.close_conversation(uid, reason):
            log.info("the conversation was closed for its agent", extra={"reason": reason.value})
        del self._open[uid]
