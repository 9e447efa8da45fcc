"""Finds conversations that are open in the database while their call is over, and closes them; ends what hangs there.

Whoever should have closed one may have died, or been cut off, before it did: agent, operator, or the cluster around
both. So nobody has to remember what is still to be closed; it is looked up.
"""

import asyncio
import logging

from conversations.closer import ConversationCloser
from conversations.pool import ConversationsUnavailableError
from kube.store import Store
from voice_operator.calls.closing import End
from voice_operator.metrics import CONVERSATIONS_SWEPT
from voicesession.admission import is_finished
from voicesession.conditions import is_agent_at_work
from voicesession.models import EndReason, VoiceSession

log = logging.getLogger(__name__)

SWEEP_SECONDS = 60.0
# Pages of 1,000 conversations that one look takes; the next one goes on from there.
MOST_PAGES = 20
# PgBouncer gives a statement up after 10 s; what takes longer goes on in Postgres for nobody.
OVERDUE_SECONDS = 15.0


class Sweep:
    """Looks every minute while `run` runs."""

    def __init__(self, closer: ConversationCloser, sessions: Store[VoiceSession]) -> None:
        self._closer = closer
        self._sessions = sessions
        self._after: str | None = None
        self._missing: set[str] = set()  # conversations without a VoiceSession, at the last look at all
        self._missing_now: set[str] = set()

    async def run(self) -> None:
        """Sweeps until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                await self.sweep()
                if ended := await self._closer.end_overdue(OVERDUE_SECONDS):
                    log.warning("statements of agents held the database up, and were ended", extra={"ended": ended})
            except ConversationsUnavailableError as error:
                log.warning("open conversations cannot be looked through", extra={"error": error})
            except Exception:
                log.exception("looking through open conversations failed")

    async def sweep(self) -> int:
        """Looks once; returns how many conversations it has closed.

        Raises:
            ConversationsUnavailableError: the database cannot be reached.
        """
        closed = 0
        for _ in range(MOST_PAGES):
            page = await self._closer.list_open(self._after)
            for each in page:
                end = self._find_end(each.session_id, each.attempts)
                if end and await self._closer.close_conversation(
                    each.session_id, end.attempt, end.reason, end.ended_at
                ):
                    closed += 1
                    CONVERSATIONS_SWEPT.labels(end.reason.value).inc()
                    words = {"session": each.session_id, "reason": end.reason.value}
                    log.info("an open conversation was found whose call is over, and closed", extra=words)
            self._after = page[-1].session_id if page else None
            if self._after is None:
                self._missing, self._missing_now = self._missing_now, set()
                break
        return closed

    def _find_end(self, session_id: str, attempt: int) -> End | None:
        session = next(iter(self._sessions.by("uid", session_id)), None)
        if session:
            return find_end(session, attempt)
        if not self._sessions.synced or self._sessions.is_unreadable(session_id):
            return None
        # Seen twice, a minute apart: a cache that is behind is not by then.
        if session_id in self._missing:
            return End(attempt, EndReason.UNKNOWN, None)
        self._missing_now.add(session_id)
        return None


def find_end(session: VoiceSession, attempt: int) -> End | None:
    """Returns how the conversation of a call that is over has ended, by what its VoiceSession says; None while it runs.

    Nor while its agent works on, which still writes. `attempt`: the youngest that has written to it. Pure.
    """
    if not is_finished(session) or is_agent_at_work(session.status.conditions):
        return None
    return End(attempt, session.status.end_reason or EndReason.ERROR, session.status.ended_at)
