"""Postgres is away at the end of calls: they end, their pods go, and what was said arrives when it is back."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from conversations import pool
from conversations.undelivered import UndeliveredPieces
from testing.conversations import ConversationsDatabase, message
from testing.livekit import LiveKitServer
from testing.operator_cluster import OperatorCluster, operator_cluster
from testing.waiting import eventually
from voice_operator import delivery
from voicesession import clock
from voicesession.assignment import conversation_write_token
from voicesession.models import EndReason, VoiceSession
from voicesession.spool import Spool, SpooledEnd, SpooledStart, build_spool, spool_key


@pytest.fixture
async def away(
    api_server: Path,
    livekit: LiveKitServer,
    conversations: ConversationsDatabase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[OperatorCluster]:
    """A cluster whose operator runs while Postgres is away; it has one warm pod and room for one call."""
    monkeypatch.setattr(pool, "WAIT_SECONDS", 0.5)
    monkeypatch.setattr(delivery, "LOOK_AGAIN_SECONDS", 1.0)
    url = SecretStr(conversations.url("voice_closer"))
    async with operator_cluster(api_server, livekit, tmp_path, database_url=url) as cluster:
        cluster.settings.conversation_key_file.write_bytes(conversations.key)
        await cluster.create_pool()
        await cluster.create_profile(maxSessions=1)
        conversations.server.stop()
        try:
            cluster.start_operator()
            await cluster.wait_for_warm()
            yield cluster
            await cluster.stop_operators()
        finally:
            if conversations.server.process is None:
                conversations.server.start()


def spool_of(session: VoiceSession, key: bytes, *words: str) -> Spool:
    uid = session.metadata.uid
    token = conversation_write_token(key, uid, 1)
    started = SpooledStart(room_id="room", profile="default", started_at=clock.now())
    ended = SpooledEnd(reason="idle", ended_at=clock.now())
    items = [message(position, text) for position, text in enumerate(words, 1)]
    return build_spool(spool_key(uid, 1, token), started, items, ended)


async def begin(cluster: OperatorCluster, name: str) -> VoiceSession:
    await cluster.create_session(name, room=f"room-{name}")
    return await cluster.wait_for_phase(name, "Active")


def contents(conversations: ConversationsDatabase) -> list[str]:
    rows = conversations.query("SELECT content FROM conversation_messages ORDER BY position")
    return [row["content"] for row in rows]


async def test_an_ended_call_is_over_and_its_rows_come_later(
    away: OperatorCluster, conversations: ConversationsDatabase
) -> None:
    active = await begin(away, "call")
    stub = away.stub_of(active)
    await stub.finish(EndReason.IDLE, spool=spool_of(active, conversations.key, "one", "my card is 4111"))
    await away.wait_for_phase("call", "Ended")
    # Neither its pod nor its place is held.
    assert stub.exited
    await begin(away, "next")

    pieces = UndeliveredPieces(away.api)
    (kept,) = await pieces.list_all()
    assert (kept.session_id, kept.attempt, kept.rows) == (active.metadata.uid, 1, 2)
    assert b"my card" not in (await pieces.read(kept.name) or b"")

    conversations.server.start()
    await eventually(lambda: is_delivered(pieces))
    assert contents(conversations) == ["one", "my card is 4111"]
    (row,) = conversations.query("SELECT room_id, end_reason, attempts FROM conversation_sessions")
    assert row == {"room_id": "room", "end_reason": "idle", "attempts": 1}


async def is_delivered(pieces: UndeliveredPieces) -> bool:
    return not await pieces.list_all()


async def test_what_a_stopped_agent_could_not_write_is_taken_over_while_its_call_goes_on(
    away: OperatorCluster, conversations: ConversationsDatabase
) -> None:
    active = await begin(away, "call")
    stub = away.stub_of(active)
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        group.create_task(stub.finish(EndReason.SHUTDOWN, spool=spool_of(active, conversations.key, "so far")))
        await away.api.delete_pod(stub.name, stub.uid)

    async def goes_on() -> bool:
        session = await away.session("call")
        return session is not None and (session.status.phase, session.status.attempts) == ("Active", 2)

    await eventually(goes_on)
    conversations.server.start()
    await eventually(lambda: contents(conversations) == ["so far"])


async def test_what_is_kept_outlives_the_operator(away: OperatorCluster, conversations: ConversationsDatabase) -> None:
    active = await begin(away, "call")
    await away.stub_of(active).finish(EndReason.IDLE, spool=spool_of(active, conversations.key, "one"))
    await away.wait_for_phase("call", "Ended")
    await away.stop_operators()
    conversations.server.start()
    assert not await is_delivered(UndeliveredPieces(away.api))
    away.start_operator()
    await eventually(lambda: is_delivered(UndeliveredPieces(away.api)))
    assert contents(conversations) == ["one"]


async def test_a_pod_that_ends_while_the_operator_is_away_is_asked_by_the_next(
    away: OperatorCluster, conversations: ConversationsDatabase
) -> None:
    active = await begin(away, "call")
    stub = away.stub_of(active)
    await away.stop_operators()
    stub.spool = spool_of(active, conversations.key, "one")
    ending = asyncio.ensure_future(stub.finish(EndReason.IDLE, spool=stub.spool))
    away.start_operator()
    await away.wait_for_phase("call", "Ended")
    await ending
    conversations.server.start()
    await eventually(lambda: is_delivered(UndeliveredPieces(away.api)))
    assert contents(conversations) == ["one"]


async def test_what_cannot_be_opened_stays_and_holds_nothing_up(
    away: OperatorCluster, conversations: ConversationsDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    first = await begin(away, "first")
    await away.stub_of(first).finish(EndReason.IDLE, spool=spool_of(first, b"another key" * 4, "secret word"))
    await away.wait_for_phase("first", "Ended")
    second = await begin(away, "second")
    await away.stub_of(second).finish(EndReason.IDLE, spool=spool_of(second, conversations.key, "two"))
    await away.wait_for_phase("second", "Ended")
    conversations.server.start()

    async def only_the_first_is_left() -> bool:
        return [each.session_id for each in await UndeliveredPieces(away.api).list_all()] == [first.metadata.uid]

    await eventually(only_the_first_is_left)
    assert contents(conversations) == ["two"]
    assert "cannot be delivered" in caplog.text
    assert "secret word" not in caplog.text


async def test_a_pod_that_tells_of_another_call_is_not_believed(
    away: OperatorCluster, conversations: ConversationsDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    active = await begin(away, "call")
    other: Any = active.model_copy(update={"metadata": active.metadata.model_copy(update={"uid": "another-call"})})
    stub = away.stub_of(active)
    ending = asyncio.ensure_future(stub.finish(EndReason.IDLE, spool=spool_of(other, conversations.key, "one")))
    await away.wait_for_phase("call", "Ended")
    await eventually(lambda: "not its own" in caplog.text)
    assert await is_delivered(UndeliveredPieces(away.api))
    ending.cancel()
