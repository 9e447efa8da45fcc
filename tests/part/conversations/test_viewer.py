"""What the role voice_viewer finds: a tenant's conversations or everybody's, page by page, whatever agents wrote."""

import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from conversations.viewer import ConversationViewer, Search
from testing.conversations import NOON, AgentsConversation, ConversationsDatabase, message, put_conversation


@pytest.fixture
async def viewer(conversations: ConversationsDatabase) -> AsyncIterator[ConversationViewer]:
    """A connected viewer."""
    async with ConversationViewer(conversations.url("voice_viewer")) as made:
        yield made


async def list_ids(viewer: ConversationViewer, search: Search, at_most: int = 50) -> list[str]:
    return [str(each.session_id) for each in await viewer.list_conversations(search, at_most)]


async def test_a_tenant_finds_its_own_and_who_sees_all_everybody_s(
    conversations: ConversationsDatabase, viewer: ConversationViewer
) -> None:
    mine, other, nobodys = (
        put_conversation(conversations, n, tenant=tenant) for n, tenant in enumerate(("acme", "beta", None))
    )
    assert await list_ids(viewer, Search(tenant="acme")) == [mine]
    assert await list_ids(viewer, Search()) == [nobodys, other, mine]
    assert await list_ids(viewer, Search(tenant="gamma")) == []
    found = await viewer.find_conversations("acme", "room")
    assert [str(each.session_id) for each in found] == [mine]
    assert await viewer.find_conversations("acme", "room", uuid.UUID(other)) == found
    assert len(await viewer.find_conversations(None, "room")) == 3
    assert await viewer.find_conversations("acme", "another room") == []


async def test_it_is_found_by_each_condition(conversations: ConversationsDatabase, viewer: ConversationViewer) -> None:
    ended = {"ended_at": NOON + timedelta(hours=9), "end_reason": "idle"}
    wanted = put_conversation(conversations, 10, profile="shop", room_id="this", **ended)
    put_conversation(conversations, 20)
    put_conversation(conversations, 5, profile="bank", room_id="that", **{**ended, "end_reason": "error"})
    at = NOON + timedelta(minutes=10)
    for search in (
        Search(profile="shop"),
        Search(reason="idle"),
        Search(room="this"),
        Search(since=at, until=at + timedelta(microseconds=1)),
        Search("acme", at, at + timedelta(minutes=1), "shop", "idle", "this"),
    ):
        assert await list_ids(viewer, search) == [wanted], search
    for search in (Search(room="th\0is"), Search(profile="shop", reason="error"), Search(since=at, until=at)):
        assert await list_ids(viewer, search) == [], search
    assert await viewer.find_conversations("acme", "th\0is") == []


async def test_pages_are_stable_while_calls_come(
    conversations: ConversationsDatabase, viewer: ConversationViewer
) -> None:
    # Of some the time is the same.
    for number in range(11):
        put_conversation(conversations, number // 3)
    whole = await list_ids(viewer, Search())
    search, read = Search(), []
    while page := await viewer.list_conversations(search, 4):
        read += [str(each.session_id) for each in page]
        put_conversation(conversations, 60)
        search = replace(search, before=(page[-1].created_at, page[-1].session_id))
    assert read == whole


async def test_answers_are_counted_whatever_an_agent_has_written(
    conversations: ConversationsDatabase, viewer: ConversationViewer
) -> None:
    session_id = put_conversation(conversations, attempts=1)
    agent = AgentsConversation(conversations, session_id)
    sound = [message(n, "yes", "assistant", latencies={"answerMillis": n * 100}) for n in range(1, 4)]
    odd = [{"answerMillis": "soon"}, {"answerMillis": None}, {"answerMillis": -5}, [1], "x", 7, None]
    agent.append(*sound, *(message(10 + n, "?", latencies=each) for n, each in enumerate(odd)))
    (found,) = await viewer.list_conversations(Search(), 1)
    assert (found.answers, found.median_answer_millis) == (3, 200)
    conversations.query(
        "UPDATE voice.conversation_messages SET latencies = '{\"answerMillis\": 1e400}' WHERE position < 4 RETURNING 1"
    )
    (found,) = await viewer.list_conversations(Search(), 1)
    assert (found.answers, found.median_answer_millis) == (3, 1_000_000_000)
    items = await viewer.read_transcript(session_id)
    assert len(items) == 10
    assert [item.latencies for item in items[-4:]] == [None] * 4
    assert json.dumps(items[3].latencies) == '{"answerMillis": "soon"}'


async def test_a_room_s_conversations_come_newest_first_and_before_them_the_one_that_is_named(
    conversations: ConversationsDatabase, viewer: ConversationViewer
) -> None:
    ids = [put_conversation(conversations, number, tenant=None if number == 1 else "acme") for number in range(3)]
    found = await viewer.find_conversations(None, "room")
    assert [str(each.session_id) for each in found] == ids[::-1]
    found = await viewer.find_conversations(None, "room", uuid.UUID(ids[0]))
    assert [str(each.session_id) for each in found] == [ids[0], ids[2], ids[1]]
