"""What is remembered from one look at open conversations to the next."""

from collections.abc import AsyncIterator
from typing import cast

from conversations.closer import ConversationCloser, OpenConversation
from testing.operator_objects import NOW, make_session
from voice_operator.cache import Cache
from voice_operator.calls.status import report_done, report_finished
from voice_operator.calls.sweep import Sweep, find_end
from voicesession.conditions import Reason
from voicesession.models import EndReason


class Database:
    """Has these conversations open. `closed`: what was asked for."""

    def __init__(self, *open_ones: str) -> None:
        self.open_ones = list(open_ones)
        self.closed: list[str] = []

    async def list_open(self, after: str | None) -> list[OpenConversation]:
        return [OpenConversation(each, 1) for each in sorted(self.open_ones) if after is None or each > after]

    async def close_conversation(self, session_id: str, *_: object) -> bool:
        self.closed.append(session_id)
        return True


async def test_a_conversation_that_was_ended_meanwhile_is_not_remembered() -> None:
    cache, database = Cache(), Database("ends", "stays")
    await cache.sessions.resync(_nothing())
    sweep = Sweep(cast(ConversationCloser, database), cache.sessions)
    assert await sweep.sweep() == 0
    database.open_ones.remove("ends")
    assert await sweep.sweep() == 1
    assert database.closed == ["stays"]
    database.open_ones = ["ends"]
    assert await sweep.sweep() == 0, "it is missing for the first time"


async def _nothing() -> AsyncIterator[tuple[list[dict[str, object]], int]]:
    yield [], 1


def test_a_conversation_is_not_closed_before_its_agent_has_done_its_work() -> None:
    session = make_session()
    status = report_finished(session, Reason.CALL_ENDED, "It ended.", EndReason.IDLE, NOW, works_on=True)
    over = session.model_copy(update={"status": status})
    assert find_end(over, 1) is None
    done = over.model_copy(update={"status": report_done(over, "", NOW)})
    end = find_end(done, 1)
    assert end is not None
    assert (end.attempt, end.reason) == (1, EndReason.IDLE)
