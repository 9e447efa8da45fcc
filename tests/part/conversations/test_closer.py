"""What the role voice_closer writes for agents that could not: ends, fenced by attempt, and rows that come late."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from conversations.closer import ConversationCloser, DeliveryRefusedError, OpenConversation
from testing.conversations import AgentsConversation, ConversationsDatabase, Row, message
from voicesession.models import EndReason
from voicesession.spool import Spooled, SpooledEnd, SpooledStart

ENDED_AT = datetime(2026, 1, 1, 12, 30, tzinfo=UTC)
STARTED = SpooledStart(
    room_id="room-late",
    participant_id="ada",
    llm_provider="local",
    profile="default",
    tenant="acme",
    started_at=datetime(2026, 1, 1, 12, tzinfo=UTC),
)
ENDED = SpooledEnd(reason="idle", ended_at=ENDED_AT, usage={"llmTokens": 7})


@pytest.fixture
async def closer(conversations: ConversationsDatabase) -> AsyncIterator[ConversationCloser]:
    """A connected closer."""
    async with ConversationCloser(conversations.url("voice_closer")) as made:
        yield made


async def deliver(closer: ConversationCloser, agent: AgentsConversation, *items: Row, **parts: Any) -> int:
    spooled = Spooled(**{"started": STARTED, "items": list(items), "ended": ENDED, **parts})
    return await closer.deliver(*agent.credentials(), spooled)


def session_row(conversations: ConversationsDatabase) -> Row:
    (row,) = conversations.query("SELECT * FROM conversation_sessions")
    return row


def contents(conversations: ConversationsDatabase) -> list[str]:
    rows = conversations.query("SELECT content FROM conversation_messages ORDER BY position, attempt")
    return [row["content"] for row in rows]


# Closing


async def test_an_open_conversation_is_closed_once(
    conversations: ConversationsDatabase, closer: ConversationCloser
) -> None:
    agent, ended = conversations.new_conversation(), conversations.new_conversation()
    agent.start()
    ended.start()
    ended.end("idle")
    assert await closer.close_conversation(agent.session_id, 1, EndReason.ERROR)
    assert not await closer.close_conversation(agent.session_id, 1, EndReason.IDLE)
    assert not await closer.close_conversation(ended.session_id, 1, EndReason.ERROR)
    assert not await closer.close_conversation(conversations.new_conversation().session_id, 1, EndReason.ERROR)
    rows = conversations.query("SELECT session_id, end_reason FROM conversation_sessions WHERE ended_at IS NOT NULL")
    assert {str(row["session_id"]): row["end_reason"] for row in rows} == {
        agent.session_id: "error",
        ended.session_id: "idle",
    }


async def test_a_late_close_leaves_a_later_attempt_alone(
    conversations: ConversationsDatabase, closer: ConversationCloser
) -> None:
    first = conversations.new_conversation()
    first.start()
    second = replace(first, attempt=2)
    second.start()
    assert not await closer.close_conversation(first.session_id, 1, EndReason.ERROR)
    second.append(message(1, "still here"))
    assert await closer.close_conversation(first.session_id, 2, EndReason.ERROR)


async def test_a_close_that_came_before_the_later_attempt_is_undone_by_it(
    conversations: ConversationsDatabase, closer: ConversationCloser
) -> None:
    first = conversations.new_conversation()
    first.start()
    assert await closer.close_conversation(first.session_id, 1, EndReason.ERROR)
    replace(first, attempt=2).append(message(1, "still here"))
    assert session_row(conversations)["ended_at"] is None
    replace(first, attempt=2).end("idle")
    assert session_row(conversations)["end_reason"] == "idle"


async def test_an_end_has_the_time_that_is_known(
    conversations: ConversationsDatabase, closer: ConversationCloser
) -> None:
    agent = conversations.new_conversation()
    agent.start()
    agent.append(message(1, "the last word"))
    (word,) = conversations.query("SELECT written_at FROM conversation_messages")
    await closer.close_conversation(agent.session_id, 1, EndReason.ERROR)
    assert session_row(conversations)["ended_at"] == word["written_at"]

    conversations.query("UPDATE conversation_sessions SET ended_at = NULL, end_reason = NULL RETURNING 1")
    known = session_row(conversations)["created_at"] + timedelta(minutes=3)
    await closer.close_conversation(agent.session_id, 1, EndReason.ERROR, known)
    assert session_row(conversations)["ended_at"] == known


async def test_what_is_open_is_listed_page_by_page(
    conversations: ConversationsDatabase, closer: ConversationCloser
) -> None:
    conversations.query(
        "INSERT INTO conversation_sessions (session_id, room_id, is_local_mode, profile, attempts) "
        "SELECT gen_random_uuid(), 'room', true, 'default', 2 FROM generate_series(1, 1500) RETURNING 1"
    )
    ended = conversations.new_conversation()
    ended.start()
    ended.end()
    first = await closer.list_open()
    second = await closer.list_open(after=first[-1].session_id)
    assert (len(first), len(second)) == (1000, 500)
    assert await closer.list_open(after=second[-1].session_id) == []
    listed = [*first, *second]
    assert set(listed) == {OpenConversation(each.session_id, 2) for each in listed}
    assert ended.session_id not in {each.session_id for each in listed}


# Delivering


async def test_a_conversation_of_which_nothing_was_written(
    conversations: ConversationsDatabase, closer: ConversationCloser
) -> None:
    agent = conversations.new_conversation()
    for _ in range(2):  # the second time changes nothing
        assert await deliver(closer, agent, message(1, "one"), message(2, "two")) == 0
    assert contents(conversations) == ["one", "two"]
    session = session_row(conversations)
    assert (session["room_id"], session["participant_id"], session["tenant"]) == ("room-late", "ada", "acme")
    assert (session["created_at"], session["ended_at"]) == (STARTED.started_at, ENDED_AT)
    assert (session["end_reason"], session["usage"], session["attempts"]) == ("idle", {"llmTokens": 7}, 1)


async def test_the_rest_of_a_conversation_that_was_closed_meanwhile(
    conversations: ConversationsDatabase, closer: ConversationCloser
) -> None:
    agent = conversations.new_conversation()
    agent.start()
    agent.append(message(1, "one"))
    ended = ENDED.model_copy(update={"ended_at": session_row(conversations)["created_at"] + timedelta(minutes=1)})
    assert await closer.close_conversation(agent.session_id, 1, EndReason.ERROR)
    assert await deliver(closer, agent, message(1, "one"), message(2, "two"), ended=ended) == 0
    assert contents(conversations) == ["one", "two"]
    session = session_row(conversations)
    # The agent's own word replaces the guess; the first row is as it was.
    assert (session["end_reason"], session["ended_at"]) == ("idle", ended.ended_at)
    assert session["room_id"] == f"room-{agent.session_id}"


async def test_late_rows_of_an_earlier_attempt_do_not_end_the_later(
    conversations: ConversationsDatabase, closer: ConversationCloser
) -> None:
    first = conversations.new_conversation()
    second = replace(first, attempt=2)
    second.start()
    second.append(message(12, "welcome back"))
    assert await deliver(closer, first, message(1, "my name is Ada")) == 0
    assert contents(conversations) == ["my name is Ada", "welcome back"]
    session = session_row(conversations)
    assert (session["attempts"], session["ended_at"]) == (2, None)
    second.end("idle")


async def test_a_later_attempt_whose_whole_life_fell_into_the_outage(
    conversations: ConversationsDatabase, closer: ConversationCloser
) -> None:
    first = conversations.new_conversation()
    first.start()
    first.end("error")
    assert await deliver(closer, replace(first, attempt=2), message(1, "back"), ended=None) == 0
    session = session_row(conversations)
    assert (session["attempts"], session["ended_at"]) == (2, None)


async def test_an_item_that_cannot_be_stored_spoils_no_other(
    conversations: ConversationsDatabase, closer: ConversationCloser
) -> None:
    agent = conversations.new_conversation()
    items = [message(1, "one"), message(2, "two", kind="song"), message(3, "nul: \x00"), message(4, "four")]
    assert await deliver(closer, agent, *items) == 2
    assert contents(conversations) == ["one", "four"]
    assert session_row(conversations)["end_reason"] == "idle"


async def test_without_the_token_nothing_is_delivered(
    conversations: ConversationsDatabase, closer: ConversationCloser
) -> None:
    session_id, _, token = conversations.new_conversation().credentials()
    with pytest.raises(DeliveryRefusedError, match="VA001"):
        await closer.deliver(session_id, 2, token, Spooled(started=STARTED, items=[message(1, "secret word")]))
    assert conversations.query("SELECT * FROM conversation_sessions") == []


async def test_a_refusal_quotes_nothing(conversations: ConversationsDatabase, closer: ConversationCloser) -> None:
    agent = conversations.new_conversation()
    nameless = {**STARTED.to_wire(), "roomId": "a secret\x00"}
    with pytest.raises(DeliveryRefusedError) as raised:
        await deliver(closer, agent, started=SpooledStart.model_validate(nameless))
    assert "secret" not in str(raised.value)
