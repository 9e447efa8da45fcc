"""What agents, the operator and the token service may rely on in the database's functions; a real Postgres."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import psycopg
import pytest

from conversations.pool import ConversationsUnavailableError
from conversations.reader import TranscriptReader
from local_cluster.ports import free_port
from testing.conversations import AgentsConversation, ConversationsDatabase, message
from testing.postgres import PostgresServer, running_pgbouncer


def error_code(raised: pytest.ExceptionInfo[psycopg.Error]) -> str | None:
    return raised.value.sqlstate


def test_a_conversation_from_start_to_end(conversations: ConversationsDatabase) -> None:
    agent = conversations.new_conversation()
    agent.start()
    latencies = {"llmFirstTokenMillis": 120}
    tool = {"name": "book_table", "arguments": {"guests": 2}}
    items = [
        message(1, "Hello, how can I help you?", role="assistant", latencies=latencies, usage={"tokens": 3}),
        message(2, "A table für zwei, bitte — 两个人 🙂"),
        {"itemId": "call-1", "position": 3, "kind": "tool_call", "tool": tool, "createdAt": "2026-01-01T12:00:03Z"},
        message(4, "I have", role="assistant", interrupted=True),
    ]
    assert agent.append(*items[2:], *items[:2]) == 4
    agent.end()

    rows = agent.history()
    assert [row["item_id"] for row in rows] == ["item-1", "item-2", "call-1", "item-4"]
    assert rows[1]["content"] == "A table für zwei, bitte — 两个人 🙂"
    assert rows[0]["latencies"] == latencies
    assert rows[0]["created_at"] == datetime(2026, 1, 1, 12, 0, 1, tzinfo=UTC)
    assert rows[2]["tool"] == tool
    assert [row["interrupted"] for row in rows] == [False, False, False, True]
    (session,) = conversations.query("SELECT * FROM conversation_sessions")
    assert str(session.pop("session_id")) == agent.session_id
    assert session.pop("created_at") <= session.pop("ended_at")
    assert session == {
        "room_id": f"room-{agent.session_id}",
        "participant_id": "ada",
        "llm_provider": "local",
        "is_local_mode": True,
        "profile": "default",
        "tenant": "acme",
        "attempts": 1,
        "end_reason": "participant_left",
        "usage": {"llmTokens": 7},
    }


def test_the_original_monitoring_query_shows_open_conversations(conversations: ConversationsDatabase) -> None:
    first, second = conversations.new_conversation(), conversations.new_conversation()
    first.start()
    second.start()
    first.end()
    rows = conversations.query(
        "SELECT session_id, room_id, participant_id, created_at FROM conversation_sessions "
        "WHERE ended_at IS NULL ORDER BY created_at DESC"
    )
    assert [str(row["session_id"]) for row in rows] == [second.session_id]


def test_repeating_a_write_changes_nothing(conversations: ConversationsDatabase) -> None:
    agent = conversations.new_conversation()
    agent.start()
    agent.start()
    assert agent.append(message(1, "one"), message(2, "two")) == 2
    assert agent.append(message(2, "changed"), message(3, "three"), message(3, "three")) == 1
    assert [row["content"] for row in agent.history()] == ["one", "two", "three"]
    agent.end("idle")
    agent.end("error")
    assert [row["end_reason"] for row in conversations.query("SELECT end_reason FROM conversation_sessions")] == [
        "idle"
    ]


def test_a_later_attempt_takes_over_and_the_earlier_is_refused(conversations: ConversationsDatabase) -> None:
    first = conversations.new_conversation()
    first.start()
    first.append(message(1, "my name is Ada"))
    second = replace(first, attempt=2)
    second.start(participant=None, provider="openai")
    assert [row["content"] for row in second.history()] == ["my name is Ada"]
    for refused in (first.start, first.end, first.history, lambda: first.append(message(2, "late"))):
        with pytest.raises(psycopg.Error) as raised:
            refused()
        assert error_code(raised) == "VA002"
    second.append(message(2, "welcome back"))
    assert [(row["attempt"], row["content"]) for row in second.history()] == [
        (1, "my name is Ada"),
        (2, "welcome back"),
    ]
    (session,) = conversations.query("SELECT attempts, participant_id, llm_provider FROM conversation_sessions")
    assert session == {"attempts": 2, "participant_id": "ada", "llm_provider": "openai"}


def test_a_later_attempt_that_writes_first_shuts_the_earlier_out(conversations: ConversationsDatabase) -> None:
    first = conversations.new_conversation()
    first.start()
    replace(first, attempt=2).append(message(1, "two is here"))
    with pytest.raises(psycopg.Error) as raised:
        first.append(message(2, "one is still here"))
    assert error_code(raised) == "VA002"


def test_an_ended_conversation_takes_no_more(conversations: ConversationsDatabase) -> None:
    agent = conversations.new_conversation()
    agent.start()
    agent.end()
    for refused in (agent.start, lambda: agent.append(message(1, "late"))):
        with pytest.raises(psycopg.Error) as raised:
            refused()
        assert error_code(raised) == "VA003"


@pytest.mark.parametrize("way", ["start", "append", "end"])
def test_a_later_attempt_opens_an_ended_conversation_again(conversations: ConversationsDatabase, way: str) -> None:
    first = conversations.new_conversation()
    first.start()
    first.end("error")
    second = replace(first, attempt=2)
    ways: dict[str, Callable[[], object]] = {
        "start": second.start,
        "append": lambda: second.append(message(1, "back")),
        "end": second.end,
    }
    ways[way]()
    (session,) = conversations.query("SELECT attempts, end_reason FROM conversation_sessions")
    assert session == {"attempts": 2, "end_reason": "participant_left" if way == "end" else None}


def test_a_conversation_that_was_never_started_is_named_so(conversations: ConversationsDatabase) -> None:
    agent = conversations.new_conversation()
    for refused in (agent.end, lambda: agent.append(message(1, "early"))):
        with pytest.raises(psycopg.Error) as raised:
            refused()
        assert error_code(raised) == "VA004"
    assert agent.history() == []


def test_a_part_of_a_batch_that_cannot_be_stored_stores_nothing(conversations: ConversationsDatabase) -> None:
    agent = conversations.new_conversation()
    agent.start()
    with pytest.raises(psycopg.errors.CheckViolation):
        agent.append(message(1, "good"), message(2, "bad", kind="gossip"))
    assert agent.history() == []


def test_writers_at_once_lose_and_double_nothing(conversations: ConversationsDatabase) -> None:
    agents = [conversations.new_conversation() for _ in range(4)]

    def write(number: int) -> int:
        agent = agents[number % 4]
        agent.start()
        # Every batch overlaps the next one's, as after lost answers.
        return agent.append(*(message(position, f"{number % 4}") for position in range(number, number + 8)))

    with ThreadPoolExecutor(8) as threads:
        written = list(threads.map(write, range(40)))
    assert sum(written) == sum(len(agent.history()) for agent in agents)
    for index, agent in enumerate(agents):
        rows = agent.history()
        assert [row["position"] for row in rows] == sorted({row["position"] for row in rows})
        assert {row["content"] for row in rows} == {str(index)}


@pytest.fixture
def bouncer_settings() -> dict[str, str]:
    return {"pool_mode": "statement", "default_pool_size": "2", "max_db_connections": "2", "max_client_conn": "100"}


def test_through_pgbouncer(
    conversations: ConversationsDatabase, postgres: PostgresServer, bouncer_settings: dict[str, str]
) -> None:
    users = {"voice_agent": "agent-password"}
    with running_pgbouncer(postgres, bouncer_settings, users) as port, ThreadPoolExecutor(10) as threads:
        agents = [replace(conversations.new_conversation(), port=port) for _ in range(20)]

        def converse(agent: AgentsConversation) -> list[str]:
            agent.start()
            for position in range(1, 6):
                agent.append(message(position, f"{agent.session_id} {position}"))
            words = [row["content"] for row in agent.history()]
            agent.end()
            return words

        for agent, words in zip(agents, threads.map(converse, agents), strict=True):
            assert words == [f"{agent.session_id} {position}" for position in range(1, 6)]
    assert conversations.query("SELECT count(*) AS open FROM conversation_sessions WHERE ended_at IS NULL") == [
        {"open": 0}
    ]


async def test_transcript_reader(
    conversations: ConversationsDatabase, postgres: PostgresServer, bouncer_settings: dict[str, str]
) -> None:
    agent, other = conversations.new_conversation(), conversations.new_conversation()
    agent.start()
    agent.append(message(1, "mine", latencies={"answerMillis": 700}))
    other.start()
    other.append(message(1, "not mine"))
    users = {"voice_reader": "reader-password"}
    with running_pgbouncer(postgres, bouncer_settings, users) as port:
        async with TranscriptReader(conversations.url("voice_reader", port), 1, 4) as reader:
            (item,) = await reader.read_transcript(agent.session_id)
            assert (item.content, item.role, item.latencies) == ("mine", "user", {"answerMillis": 700})
            assert await reader.read_transcript(conversations.new_conversation().session_id) == []
            with pytest.raises(ValueError, match="badly formed"):
                await reader.read_transcript("not a uuid")


async def test_a_database_that_is_away_is_named_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conversations.pool.WAIT_SECONDS", 0.2)
    url = f"postgresql://voice_reader:secret-password@127.0.0.1:{free_port()}/voice"
    async with TranscriptReader(url, 1, 2) as reader:
        with pytest.raises(ConversationsUnavailableError) as raised:
            await reader.read_transcript("6f1c8d0e-2f9a-4d53-9d0b-0d4c3c0c5b11")
    assert "secret-password" not in str(raised.value)


async def test_a_restarted_database_is_found_again(conversations: ConversationsDatabase) -> None:
    agent = conversations.new_conversation()
    agent.start()
    agent.append(message(1, "still here"))
    async with TranscriptReader(conversations.url("voice_reader"), 1, 2) as reader:
        assert len(await reader.read_transcript(agent.session_id)) == 1
        conversations.server.stop()
        conversations.server.start()
        assert len(await reader.read_transcript(agent.session_id)) == 1


def test_items_come_as_jsonb_too(conversations: ConversationsDatabase) -> None:
    """Agents may send a JSON string or psycopg's Jsonb: both arrive as the same items."""
    agent = conversations.new_conversation()
    agent.start()
    items = psycopg.types.json.Jsonb([message(1, "as jsonb")])
    assert agent.call("append_items", items) == [{"append_items": 1}]
    assert agent.call("append_items", json.dumps([message(1, "as jsonb")])) == [{"append_items": 0}]


def write_draft(agent: AgentsConversation, content: str, item_id: str = "draft-1", position: int = 2) -> None:
    item = {"itemId": item_id, "position": position, "role": "assistant", "content": content}
    agent.call("write_draft", json.dumps(item))


def test_a_sentence_is_written_while_it_is_said_and_then_whole(conversations: ConversationsDatabase) -> None:
    agent = conversations.new_conversation()
    agent.start()
    agent.append(message(1, "Is it open?"))
    write_draft(agent, "We are")
    write_draft(agent, "We are open until")
    draft = agent.history()[1]
    assert (draft["content"], draft["interrupted"], draft["provisional"]) == ("We are open until", True, True)
    whole = message(2, "We are open until ten.", role="assistant", itemId="draft-1")
    assert agent.append(whole, whole) == 1, "an item that comes twice is one"
    assert [(row["content"], row["interrupted"], row["provisional"]) for row in agent.history()] == [
        ("Is it open?", False, False),
        ("We are open until ten.", False, False),
    ]
    write_draft(agent, "We are open", position=3)
    assert agent.history()[1]["content"] == "We are open until ten.", "a late draft changes nothing"


def test_what_a_later_attempt_may_do_with_a_sentence_of_an_earlier_one(conversations: ConversationsDatabase) -> None:
    first = conversations.new_conversation()
    first.start()
    write_draft(first, "We are")
    second = replace(first, attempt=2)
    write_draft(second, "They were")
    (draft,) = second.history()
    assert (draft["content"], draft["attempt"]) == ("We are", 1)
    second.append(message(2, "We are open.", role="assistant", itemId="draft-1"))
    (whole,) = second.history()
    assert (whole["content"], whole["provisional"]) == ("We are open.", False)
    with pytest.raises(psycopg.Error) as raised:
        write_draft(first, "We are open")
    assert error_code(raised) == "VA002"


def test_what_an_agent_keeps_is_there_for_a_later_attempt(conversations: ConversationsDatabase) -> None:
    agent = conversations.new_conversation()
    agent.start()
    for value in ({"pizzas": ["funghi"]}, {"pizzas": ["funghi", "salami"]}):
        agent.call("save_memory", "saved", json.dumps(value))
    later = replace(agent, attempt=2)
    assert later.call("load_memory") == [{"name": "saved", "value": {"pizzas": ["funghi", "salami"]}}]
    later.call("save_memory", "userdata", json.dumps({"name": "Ada"}))
    with pytest.raises(psycopg.Error) as raised:
        agent.call("save_memory", "saved", "{}")
    assert error_code(raised) == "VA002"
    for name, text in (("else", ""), ("saved", "x" * 200_000)):
        with pytest.raises(psycopg.errors.CheckViolation):
            later.call("save_memory", name, json.dumps({"text": text}))
    assert len(later.call("load_memory")) == 2
