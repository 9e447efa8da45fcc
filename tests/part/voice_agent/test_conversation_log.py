"""What a call leaves in Postgres: every word in order, through outages, and from one attempt to the next."""

import asyncio
import signal
from typing import Any

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from testing.agent_pod import Follower, build_assignment, build_provider, running_pod
from testing.conversations import ConversationsDatabase
from testing.customer import Customer, joined_room
from testing.fake_openai import FakeOpenAI
from testing.livekit import LiveKitServer, new_room
from testing.postgres import running_pgbouncer
from testing.waiting import eventually, stays
from voice_agent.conversation_log import ConversationEnd, ConversationLog, ConversationStart
from voicesession import clock
from voicesession.assignment import Assignment, CallEnded, Heartbeat, conversation_write_token
from voicesession.models import EndReason

GREETING = "Hello there."


@pytest.fixture
def url(conversations: ConversationsDatabase) -> str:
    """The agents' way into the database."""
    return conversations.url("voice_agent")


def with_token(assignment: Assignment, conversations: ConversationsDatabase) -> Assignment:
    """Returns the assignment with its write token."""
    token = conversation_write_token(conversations.key, assignment.session_id, assignment.attempt)
    return assignment.model_copy(update={"write_token": token})


async def converse(customer: Customer, *texts: str) -> None:
    """Types each text and waits for its answer."""
    for text in texts:
        await customer.type(text)
        await customer.until_said(f"You said: {text}.")


async def until_written(follower: Follower) -> None:
    """Waits until a heartbeat tells that nothing is unwritten."""
    seen = len(follower.events)

    def written() -> bool:
        return any(isinstance(event, Heartbeat) and event.unwritten_items == 0 for event in follower.events[seen:])

    await follower.until(written, 30, "a heartbeat without unwritten items")


def agent_sid(customer: Customer) -> str:
    return customer.room.remote_participants["agent"].sid


def messages(conversations: ConversationsDatabase) -> list[dict[str, Any]]:
    return conversations.query("SELECT * FROM voice.conversation_messages ORDER BY position, attempt")


def contents(conversations: ConversationsDatabase) -> list[str]:
    return [row["content"] for row in messages(conversations)]


def session_row(conversations: ConversationsDatabase) -> dict[str, Any]:
    (row,) = conversations.query("SELECT * FROM voice.conversation_sessions")
    return row


async def test_a_call_is_written_through_pgbouncer(
    livekit: LiveKitServer, fake: FakeOpenAI, conversations: ConversationsDatabase
) -> None:
    room = new_room()
    assignment = with_token(build_assignment(livekit, room, tenant="acme", local_mode=True), conversations)
    settings = {"pool_mode": "transaction", "default_pool_size": "2"}
    with running_pgbouncer(conversations.server, settings, {"voice_agent": "agent-password"}) as port:
        async with running_pod(
            [build_provider(fake.base_url)], DATABASE_URL=conversations.url("voice_agent", port)
        ) as pod:
            follower = await pod.assign(assignment)
            async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
                await customer.until_said(GREETING)
                await converse(customer, "one", "two")
            ended = await follower.wait_for(CallEnded)
            assert await pod.exit_code() == 0
    rows = messages(conversations)
    assert [(row["kind"], row["role"], row["content"]) for row in rows] == [
        ("message", "assistant", GREETING),
        ("message", "user", "one"),
        ("message", "assistant", "You said: one."),
        ("message", "user", "two"),
        ("message", "assistant", "You said: two."),
    ]
    assert [row["position"] for row in rows] == sorted({row["position"] for row in rows})
    assert rows[2]["latencies"]["llmFirstTokenMillis"] > 0
    assert rows[2]["usage"]["inputTokens"] == 7
    assert rows[2]["usage"]["outputTokens"] == 5
    session = session_row(conversations)
    assert str(session["session_id"]) == assignment.session_id
    assert (session["room_id"], session["participant_id"], session["llm_provider"]) == (room, "customer", "fake")
    assert (session["is_local_mode"], session["tenant"], session["attempts"]) == (True, "acme", 1)
    assert session["end_reason"] == "participant_left"
    assert session["ended_at"] >= session["created_at"]
    assert session["usage"] == ended.usage


async def test_an_interrupted_answer_is_written_as_it_was_heard(
    livekit: LiveKitServer, fake: FakeOpenAI, conversations: ConversationsDatabase, url: str
) -> None:
    room = new_room()
    long = "let me tell you " + "a very long story about everything that ever happened " * 6
    async with running_pod([build_provider(fake.base_url)], DATABASE_URL=url) as pod:
        follower = await pod.assign(with_token(build_assignment(livekit, room), conversations))
        async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
            await customer.until_said(GREETING)
            customer.heard.frames.clear()
            await customer.type(long)
            await customer.until(lambda: customer.heard.audible_seconds() > 1.5, 20, "the beginning of an answer")
            await converse(customer, "stop")
        await follower.wait_for(CallEnded)
    cut = messages(conversations)[2]
    whole = f"You said: {long}."
    assert cut["interrupted"]
    assert whole.startswith(cut["content"].rstrip())
    assert 10 < len(cut["content"]) < len(whole) / 2


async def test_an_outage_in_the_middle_of_a_call(
    livekit: LiveKitServer, fake: FakeOpenAI, conversations: ConversationsDatabase, url: str
) -> None:
    room = new_room()
    async with running_pod([build_provider(fake.base_url)], DATABASE_URL=url) as pod:
        follower = await pod.assign(with_token(build_assignment(livekit, room), conversations))
        async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
            await customer.until_said(GREETING)
            await until_written(follower)
            conversations.server.stop()
            try:
                await converse(customer, "one", "two", "three")
                await follower.until(
                    lambda: any(beat.unwritten_items == 6 for beat in follower.all_of(Heartbeat)), 10, "unwritten items"
                )
            finally:
                conversations.server.start()
            await until_written(follower)
            await converse(customer, "four")
        await follower.wait_for(CallEnded)
    said = [text for number in ("one", "two", "three", "four") for text in (number, f"You said: {number}.")]
    assert contents(conversations) == [GREETING, *said]
    assert session_row(conversations)["end_reason"] == "participant_left"
    assert "three" not in pod.log


async def test_an_outage_at_the_end_of_a_call(
    livekit: LiveKitServer, fake: FakeOpenAI, conversations: ConversationsDatabase, url: str
) -> None:
    room = new_room()
    conversations.server.stop()
    try:
        async with running_pod([build_provider(fake.base_url)], DATABASE_URL=url) as pod:
            follower = await pod.assign(with_token(build_assignment(livekit, room), conversations))
            async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
                await customer.until_said(GREETING)
                await converse(customer, "one")
            await stays(lambda: not follower.all_of(CallEnded), 3, "the call ended before its words were written")
            conversations.server.start()
            await follower.wait_for(CallEnded)
            assert await pod.exit_code() == 0
    finally:
        if conversations.server.process is None:
            conversations.server.start()
    assert contents(conversations) == [GREETING, "one", "You said: one."]
    assert session_row(conversations)["ended_at"] is not None


async def test_a_stopped_pod_does_not_wait_long_for_the_database(
    livekit: LiveKitServer, fake: FakeOpenAI, conversations: ConversationsDatabase, url: str
) -> None:
    room = new_room()
    conversations.server.stop()
    try:
        async with running_pod([build_provider(fake.base_url)], DATABASE_URL=url) as pod:
            follower = await pod.assign(with_token(build_assignment(livekit, room), conversations))
            async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
                await customer.until_said(GREETING)
            await eventually(lambda: livekit.is_empty(room))
            pod.signal(signal.SIGTERM)
            ended = await follower.wait_for(CallEnded, 20)
            assert ended.reason is EndReason.PARTICIPANT_LEFT
            assert ended.message == "items of the conversation that could not be written: 1"
    finally:
        conversations.server.start()


async def test_a_successor_knows_what_was_said(
    livekit: LiveKitServer, fake: FakeOpenAI, conversations: ConversationsDatabase, url: str
) -> None:
    room = new_room()
    first = build_assignment(livekit, room)
    async with (
        running_pod([build_provider(fake.base_url)], DATABASE_URL=url) as pod,
        running_pod([build_provider(fake.base_url)], DATABASE_URL=url) as successor,
        joined_room(livekit.url, livekit.customer_token(room)) as customer,
    ):
        follower = await pod.assign(with_token(first, conversations))
        await customer.until_said(GREETING)
        await converse(customer, "my name is Ada")
        await until_written(follower)
        pod.signal(signal.SIGKILL)
        await pod.exit_code()
        again = first.model_copy(update={"attempt": 2, "room_token": livekit.agent_token(room)})
        predecessor = agent_sid(customer)
        second = await successor.assign(with_token(again, conversations))
        await customer.until(
            lambda: customer.agent_state == "listening" and agent_sid(customer) != predecessor, 20, "it"
        )
        await converse(customer, "who am I")
        await successor.end()
        await second.wait_for(CallEnded)
    asked = [message["content"] for message in fake.chats[-1]["messages"] if message["role"] != "system"]
    assert asked == [GREETING, "my name is Ada", "You said: my name is Ada.", "who am I"]
    assert contents(conversations) == [*asked, "You said: who am I.", "Bye now."]
    assert [row["attempt"] for row in messages(conversations)] == [1, 1, 1, 2, 2, 2]
    assert session_row(conversations)["attempts"] == 2


async def test_a_successor_answers_what_was_left_open(
    livekit: LiveKitServer, fake: FakeOpenAI, conversations: ConversationsDatabase, url: str
) -> None:
    room = new_room()
    first = with_token(build_assignment(livekit, room), conversations)
    conversation = conversations.new_conversation()
    assignment = first.model_copy(update={"session_id": conversation.session_id, "attempt": 2})
    conversation.start()
    conversation.append(
        {"itemId": "a", "position": 1_000_001, "kind": "message", "role": "assistant", "content": GREETING},
        {"itemId": "b", "position": 1_000_002, "kind": "message", "role": "user", "content": "are you there?"},
    )
    async with running_pod([build_provider(fake.base_url)], DATABASE_URL=url) as pod:
        await pod.assign(with_token(assignment, conversations))
        async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
            await customer.until_said("You said: are you there?.")
    assert GREETING not in fake.spoken


async def test_an_older_attempt_is_superseded(
    livekit: LiveKitServer, fake: FakeOpenAI, conversations: ConversationsDatabase, url: str
) -> None:
    room = new_room()
    assignment = with_token(build_assignment(livekit, room), conversations)
    async with running_pod([build_provider(fake.base_url)], DATABASE_URL=url) as pod:
        follower = await pod.assign(assignment)
        async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
            await customer.until_said(GREETING)
            await until_written(follower)
            with psycopg.connect(url, autocommit=True) as connection:
                token = conversation_write_token(conversations.key, assignment.session_id, 2)
                connection.execute(
                    "SELECT voice.start_conversation(%s, 2, %s, %s, 'customer', 'fake', false, 'default', NULL)",
                    (assignment.session_id, token, room),
                )
            await customer.type("one")
            ended = await follower.wait_for(CallEnded)
            assert ended.reason is EndReason.SUPERSEDED
            assert await pod.exit_code() == 0
            assert pod.termination().reason == "superseded"
    assert contents(conversations) == [GREETING]
    assert session_row(conversations)["ended_at"] is None


async def test_a_wrong_token_writes_nothing_and_stops_no_call(
    livekit: LiveKitServer, fake: FakeOpenAI, conversations: ConversationsDatabase, url: str
) -> None:
    room = new_room()
    async with running_pod([build_provider(fake.base_url)], DATABASE_URL=url) as pod:
        follower = await pod.assign(build_assignment(livekit, room, write_token="0" * 64))
        async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
            await customer.until_said(GREETING)
            await converse(customer, "one")
        ended = await follower.wait_for(CallEnded)
    assert ended.reason is EndReason.PARTICIPANT_LEFT
    assert "could not be written" in ended.message
    assert "VA001" in pod.log
    assert messages(conversations) == []


def new_log(conversations: ConversationsDatabase, url: str) -> ConversationLog:
    """Returns the writer of a conversation that has not been started."""
    session_id, attempt, token = conversations.new_conversation().credentials()
    start = ConversationStart(session_id, attempt, token, "room-1", None, "fake", False, "default", None)
    return ConversationLog(url, start, on_superseded=lambda: None)


def row(item_id: str, content: str, kind: str = "message") -> dict[str, Any]:
    return {"itemId": item_id, "kind": kind, "role": "user", "content": content, "createdAt": "2026-01-01T00:00:00Z"}


async def test_a_refused_item_spoils_no_other(conversations: ConversationsDatabase, url: str) -> None:
    log = new_log(conversations, url)
    log.append([row("a", "one")])
    log.append([row("b", "two", kind="song")])
    log.append([row("c", "three")])
    log.begin()
    end = ConversationEnd("idle", clock.now(), {})
    assert not await log.finish(end, timeout=10)
    assert log.unwritten == 1
    assert contents(conversations) == ["one", "three"]
    assert session_row(conversations)["end_reason"] == "idle"


def is_in_a_statement(log: ConversationLog) -> bool:
    return log._connection is not None and log._connection.info.transaction_status is TransactionStatus.ACTIVE


async def test_a_database_that_falls_silent_in_a_statement_holds_nobody_up(
    conversations: ConversationsDatabase,
) -> None:
    with running_pgbouncer(
        conversations.server, {"pool_mode": "transaction"}, {"voice_agent": "agent-password"}
    ) as port:
        log = new_log(conversations, conversations.url("voice_agent", port))
        log.begin()
        log.append([row("a", "one")])
        await eventually(lambda: not log.unwritten)
        with conversations.server.frozen():
            # What a cancelled statement costs in psycopg would be 10 s each.
            async with asyncio.timeout(5):
                assert await log.load_history(timeout=1) == []
            log.append([row("b", "two")])
            await eventually(lambda: is_in_a_statement(log))
            async with asyncio.timeout(5):
                assert not await log.finish(ConversationEnd("shutdown", clock.now(), {}), timeout=1)
        assert log.unwritten == 1
