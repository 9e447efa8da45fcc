"""What a call leaves in Postgres: every word in order, through outages, and from one attempt to the next."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from conversations.closer import ConversationCloser
from testing.agent_pod import AgentPod, Follower, build_assignment, build_provider, running_pod
from testing.conversations import ConversationsDatabase
from testing.customer import Customer, joined_room
from testing.fake_openai import FakeOpenAI
from testing.livekit import LiveKitServer, new_room
from testing.postgres import running_pgbouncer
from testing.waiting import eventually
from voice_agent.conversation_log import ConversationLog, ConversationStart
from voice_operator.pods.agent_pod import GRACE_SECONDS
from voicesession import clock
from voicesession.assignment import Assignment, CallEnded, CustomerKnown, Heartbeat, conversation_write_token
from voicesession.models import EndReason
from voicesession.spool import Spool, SpooledEnd, spool_key

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
    settings = {"pool_mode": "statement", "default_pool_size": "2"}
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


async def test_a_customer_whose_name_is_not_known_is_named_when_they_come(
    livekit: LiveKitServer, fake: FakeOpenAI, conversations: ConversationsDatabase, url: str
) -> None:
    room = new_room()
    assignment = with_token(build_assignment(livekit, room, participant_identity=None), conversations)
    async with running_pod([build_provider(fake.base_url)], DATABASE_URL=url) as pod:
        follower = await pod.assign(assignment)
        async with joined_room(livekit.url, livekit.customer_token(room, "anyone")) as customer:
            await customer.until_said(GREETING)
        await follower.wait_for(CallEnded)
    assert follower.all_of(CustomerKnown)[0].participant_identity == "anyone"
    assert session_row(conversations)["participant_id"] == "anyone"


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
    assert "You said" not in pod.log


@pytest.fixture
async def call_without_database(
    livekit: LiveKitServer, fake: FakeOpenAI, conversations: ConversationsDatabase, url: str
) -> AsyncIterator[tuple[AgentPod, Follower]]:
    """A pod whose call has just ended, in an outage that began before it; with its events."""
    room = new_room()
    conversations.server.stop()
    try:
        async with running_pod([build_provider(fake.base_url)], DATABASE_URL=url) as pod:
            follower = await pod.assign(with_token(build_assignment(livekit, room), conversations))
            async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
                await customer.until_said(GREETING)
                await converse(customer, "one")
            yield pod, follower
    finally:
        if conversations.server.process is None:
            conversations.server.start()


SAID = [GREETING, "one", "You said: one."]


async def test_an_outage_at_the_end_holds_no_call_up_and_its_pod_writes_later(
    call_without_database: tuple[AgentPod, Follower], conversations: ConversationsDatabase
) -> None:
    pod, follower = call_without_database
    ended = await follower.wait_for(CallEnded)
    assert (ended.reason, ended.message, ended.end_written) == (EndReason.PARTICIPANT_LEFT, "", False)
    assert not pod.termination().end_written
    conversations.server.start()
    assert await pod.exit_code() == 0
    assert pod.termination().end_written
    assert contents(conversations) == SAID
    assert session_row(conversations)["end_reason"] == "participant_left"


async def test_what_a_pod_cannot_write_is_handed_over_and_delivered(
    call_without_database: tuple[AgentPod, Follower], conversations: ConversationsDatabase
) -> None:
    pod, follower = call_without_database
    ended = await follower.wait_for(CallEnded)
    spool = await pod.spool()
    assert spool
    assert await pod.spool() == spool, "asked again, as after a lost answer, it is the same"
    kept = b"".join(piece.data for piece in spool.pieces)
    assert not [words for words in (GREETING, "You said") if words.encode() in kept]
    pod.signal(signal.SIGTERM)  # also in the time that a stopped pod has
    assert await pod.let_go_of_spool() == 202
    assert await pod.exit_code(5) == 0
    assert "is lost" not in pod.log

    conversations.server.start()
    assert await deliver(conversations, spool) == 0
    assert contents(conversations) == SAID
    session = session_row(conversations)
    assert (session["end_reason"], session["usage"], session["participant_id"]) == (
        "participant_left",
        ended.usage,
        "customer",
    )
    assert session["created_at"] < session["ended_at"]


async def test_a_postgres_that_hangs_at_the_end_of_a_call_gets_its_rows_when_it_goes_on(
    livekit: LiveKitServer, fake: FakeOpenAI, conversations: ConversationsDatabase, url: str
) -> None:
    room = new_room()
    async with running_pod([build_provider(fake.base_url)], DATABASE_URL=url) as pod:
        follower = await pod.assign(with_token(build_assignment(livekit, room), conversations))
        async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
            await customer.until_said(GREETING)
            await until_written(follower)
            with conversations.server.frozen():
                await converse(customer, "one")
                await customer.close()
                assert not (await follower.wait_for(CallEnded)).end_written
                assert await pod.spool()
        assert await pod.exit_code() == 0
        assert pod.termination().end_written
    assert contents(conversations) == SAID
    assert session_row(conversations)["end_reason"] == "participant_left"


async def test_a_stopped_pod_does_not_wait_long_for_the_database(
    call_without_database: tuple[AgentPod, Follower],
) -> None:
    pod, follower = call_without_database
    await follower.wait_for(CallEnded)
    pod.signal(signal.SIGTERM)
    assert await pod.exit_code(GRACE_SECONDS) == 0
    (lost,) = [line for line in pod.lines if line["message"] == "a part of the conversation is lost"]
    assert lost["items"] == len(SAID)
    assert not pod.termination().end_written


async def deliver(conversations: ConversationsDatabase, spool: Spool) -> int:
    """Does what the operator does with it; returns how many rows the database refused."""
    token = conversation_write_token(conversations.key, spool.session_id, spool.attempt)
    key = spool_key(spool.session_id, spool.attempt, token)
    async with ConversationCloser(conversations.url("voice_closer")) as closer:
        opened = [key.open(piece.data) for piece in spool.pieces]
        return sum([await closer.deliver(spool.session_id, spool.attempt, token, each) for each in opened])


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


async def test_a_stopped_pod_leaves_the_conversation_open(
    livekit: LiveKitServer, fake: FakeOpenAI, conversations: ConversationsDatabase, url: str
) -> None:
    room = new_room()
    async with running_pod([build_provider(fake.base_url)], DATABASE_URL=url) as pod:
        follower = await pod.assign(with_token(build_assignment(livekit, room), conversations))
        async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
            await customer.until_said(GREETING)
            await converse(customer, "one")
            pod.signal(signal.SIGTERM)
            ended = await follower.wait_for(CallEnded)
            assert await pod.exit_code() == 0
    assert (ended.reason, ended.end_written) == (EndReason.SHUTDOWN, False)
    assert contents(conversations) == SAID
    assert session_row(conversations)["ended_at"] is None


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
            assert (ended.reason, ended.end_written) == (EndReason.SUPERSEDED, False)
            spool = await pod.spool()
            await pod.let_go_of_spool()
            assert await pod.exit_code() == 0
            assert pod.termination().reason == "superseded"
    assert contents(conversations) == [GREETING]
    assert spool
    await deliver(conversations, spool)
    # Said to the first attempt, and kept; the second goes on.
    assert contents(conversations) == [GREETING, "one"]
    session = session_row(conversations)
    assert (session["attempts"], session["ended_at"]) == (2, None)


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
    assert (ended.reason, ended.end_written) == (EndReason.PARTICIPANT_LEFT, False)
    assert "VA001" in pod.log
    assert messages(conversations) == []


async def test_a_conversation_that_was_closed_in_mid_call_loses_nothing(
    livekit: LiveKitServer, fake: FakeOpenAI, conversations: ConversationsDatabase, url: str
) -> None:
    room = new_room()
    assignment = with_token(build_assignment(livekit, room), conversations)
    async with running_pod([build_provider(fake.base_url)], DATABASE_URL=url) as pod:
        follower = await pod.assign(assignment)
        async with joined_room(livekit.url, livekit.customer_token(room)) as customer:
            await customer.until_said(GREETING)
            await until_written(follower)
            async with ConversationCloser(conversations.url("voice_closer")) as closer:
                assert await closer.close_conversation(assignment.session_id, 1, EndReason.UNKNOWN)
            await converse(customer, "one")
        assert not (await follower.wait_for(CallEnded)).end_written
        spool = await pod.spool()
    assert spool
    await deliver(conversations, spool)
    assert contents(conversations) == SAID
    assert session_row(conversations)["end_reason"] == "participant_left"


async def test_pgbouncer_restarted_in_mid_call_loses_nothing(
    livekit: LiveKitServer, fake: FakeOpenAI, conversations: ConversationsDatabase
) -> None:
    room = new_room()
    assignment = with_token(build_assignment(livekit, room), conversations)
    settings, users = {"pool_mode": "statement", "default_pool_size": "2"}, {"voice_agent": "agent-password"}
    async with contextlib.AsyncExitStack() as stack:
        with running_pgbouncer(conversations.server, settings, users) as port:
            url = conversations.url("voice_agent", port)
            pod = await stack.enter_async_context(running_pod([build_provider(fake.base_url)], DATABASE_URL=url))
            follower = await pod.assign(assignment)
            customer = await stack.enter_async_context(joined_room(livekit.url, livekit.customer_token(room)))
            await customer.until_said(GREETING)
            await converse(customer, "one")
            await until_written(follower)
        await converse(customer, "two")
        with running_pgbouncer(conversations.server, settings, users, port):
            await converse(customer, "three")
            await customer.close()
            assert (await follower.wait_for(CallEnded)).end_written
            assert await pod.exit_code() == 0
    numbers = ("one", "two", "three")
    assert contents(conversations) == [GREETING, *(text for each in numbers for text in (each, f"You said: {each}."))]


def new_log(conversations: ConversationsDatabase, url: str) -> ConversationLog:
    """Returns the writer of a conversation that has not been started."""
    session_id, attempt, token = conversations.new_conversation().credentials()
    start = ConversationStart(session_id, attempt, token, "room-1", None, "fake", False, "default", None)
    return ConversationLog(url, start, on_superseded=lambda: None)


def row(item_id: str, content: str, kind: str = "message") -> dict[str, Any]:
    return {"itemId": item_id, "kind": kind, "role": "user", "content": content, "createdAt": "2026-01-01T00:00:00Z"}


def end(reason: str) -> SpooledEnd:
    return SpooledEnd(reason=reason, ended_at=clock.now())


async def test_a_refused_item_spoils_no_other(conversations: ConversationsDatabase, url: str) -> None:
    log = new_log(conversations, url)
    log.append([row("a", "one")])
    log.append([row("b", "two", kind="song")])
    log.append([row("c", "three")])
    log.begin()
    assert await log.finish(end("idle"), timeout=10)
    assert (log.lost, log.spool()) == (1, None)
    assert contents(conversations) == ["one", "three"]
    assert session_row(conversations)["end_reason"] == "idle"


def is_in_a_statement(log: ConversationLog) -> bool:
    return log._connection is not None and log._connection.info.transaction_status is TransactionStatus.ACTIVE


async def test_a_database_that_falls_silent_in_a_statement_holds_nobody_up(
    conversations: ConversationsDatabase,
) -> None:
    with running_pgbouncer(conversations.server, {"pool_mode": "statement"}, {"voice_agent": "agent-password"}) as port:
        log = new_log(conversations, conversations.url("voice_agent", port))
        log.begin()
        log.append([row("a", "one")])
        await eventually(lambda: not log.unwritten)
        with conversations.server.frozen():
            # What a cancelled statement costs in psycopg would be 10 s each.
            async with asyncio.timeout(5):
                assert await log.load_history(timeout=1) is None
            log.append([row("b", "two")])
            await eventually(lambda: is_in_a_statement(log))
            async with asyncio.timeout(5):
                assert not await log.finish(end("shutdown"), timeout=1)
            spool = log.spool()
        assert spool
        assert [piece.rows for piece in spool.pieces] == [1]
        await log.until_written()
