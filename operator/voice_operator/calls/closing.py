"""Closes the conversations of agents that did not, or may not have, done it themselves."""

import logging
from dataclasses import dataclass
from datetime import datetime

from conversations.closer import ConversationCloser
from voice_operator.keys import Key, Kind
from voice_operator.work_queue import WorkQueue
from voicesession.models import EndReason

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class End:
    """How a conversation ended. A later attempt than `attempt` is left alone."""

    attempt: int
    reason: EndReason
    ended_at: datetime | None


class Closing:
    """What is still to be closed; each is retried by the queue until the database has it."""

    def __init__(self, closer: ConversationCloser | None, queue: WorkQueue[Key]) -> None:
        """`closer` None: there is no database, and nothing to close."""
        self._closer = closer
        self._queue = queue
        self._open: dict[str, End] = {}

    def close(self, uid: str, end: End) -> None:
        """Has the conversation of this VoiceSession closed, beside everything else."""
        if self._closer:
            self._open[uid] = end
            self._queue.add(Key(Kind.CLOSING, uid))

    async def reconcile_closing(self, uid: str) -> None:
        """Closes one conversation.

        Raises:
            conversations.pool.ConversationsUnavailableError: the database cannot be reached; to be retried.
        """
        end = self._open.get(uid)
        if end is None or self._closer is None:
            return
        if await self._closer.close_conversation(uid, end.attempt, end.reason, end.ended_at):
            log.info("the conversation was closed for its agent", extra={"reason": end.reason.value})
        self._open.pop(uid, None)
