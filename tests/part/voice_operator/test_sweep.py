"""Conversations that are open while their call is over: found in a real Postgres, and closed as it is known how."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from pydantic import SecretStr

from conversations.closer import ConversationCloser
from kube.store import Store
from testing.conversations import AgentsConversation, ConversationsDatabase, message
from testing.operator_cluster import OperatorCluster
from testing.operator_objects import finished_conditions, joined_conditions, make_session
from testing.waiting import eventually
from voice_operator.calls import sweep
from voice_operator.calls.sweep import Sweep
from voicesession import clock
from voicesession.conditions import Reason
from voicesession.models import EndReason, VoiceSession


@pytest.fixture
async def closer(conversations: ConversationsDatabase) -> AsyncIterator[ConversationCloser]:
    """A connected closer."""
    async with ConversationCloser(conversations.url("voice_closer")) as made:
        yield made


async def store_of(*sessions: VoiceSession, **changed: Any) -> Store[VoiceSession]:
    """Returns what the operator has seen. `changed`: spec of the last one, beyond the CRD's rules."""
    raws = [session.model_dump(mode="json", by_alias=True, exclude_none=True) for session in sessions]
    if changed:
        raws[-1]["spec"] |= changed
    store: Store[VoiceSession] = Store(VoiceSession.model_validate, {"uid": lambda session: session.metadata.uid})

    async def pages() -> AsyncIterator[tuple[list[dict[str, Any]], int]]:
        yield raws, 100

    await store.resync(pages())
    return store


def started(conversations: ConversationsDatabase) -> AgentsConversation:
    conversation = conversations.new_conversation()
    conversation.start()
    return conversation


def ends(conversations: ConversationsDatabase) -> dict[str, tuple[str | None, datetime | None]]:
    rows = conversations.query("SELECT session_id, end_reason, ended_at FROM conversation_sessions")
    return {str(row["session_id"]): (row["end_reason"], row["ended_at"]) for row in rows}


async def test_what_is_over_is_closed_and_what_runs_is_left_alone(
    conversations: ConversationsDatabase, closer: ConversationCloser
) -> None:
    talks, idle, crashed = (started(conversations) for _ in range(3))
    ended_at = clock.now().replace(microsecond=0)
    over: dict[str, Any] = {"conditions": finished_conditions(), "status_ended_at": ended_at}
    store = await store_of(
        make_session("talks", talks.session_id, conditions=joined_conditions()),
        make_session("idle", idle.session_id, **over, status_end_reason="idle"),
        make_session("crashed", crashed.session_id, **{**over, "conditions": finished_conditions(Reason.ROOM_TAKEN)}),
    )
    assert await Sweep(closer, store).sweep() == 2
    reasons = {each: reason for each, (reason, _) in ends(conversations).items()}
    assert reasons == {talks.session_id: None, idle.session_id: "idle", crashed.session_id: "error"}
    assert ends(conversations)[idle.session_id][1] == max(ended_at, row_of(conversations, idle)["created_at"])


def row_of(conversations: ConversationsDatabase, agent: AgentsConversation) -> dict[str, Any]:
    (row,) = conversations.query("SELECT * FROM conversation_sessions WHERE session_id = %s", agent.session_id)
    return row


async def test_what_nobody_knows_any_more_is_closed_at_the_second_look(
    conversations: ConversationsDatabase, closer: ConversationCloser
) -> None:
    agent = started(conversations)
    agent.append(message(1, "the last word"))
    sweeping = Sweep(closer, await store_of())
    assert await sweeping.sweep() == 0
    assert await sweeping.sweep() == 1
    assert ends(conversations)[agent.session_id][0] == EndReason.UNKNOWN
    # Were it alive after all, by another cluster's mistake for example, a later attempt goes on with it.
    replace(agent, attempt=2).append(message(2, "not so"))
    assert ends(conversations)[agent.session_id] == (None, None)


async def test_what_the_operator_cannot_know_is_left_alone(
    conversations: ConversationsDatabase, closer: ConversationCloser
) -> None:
    agent = started(conversations)
    unreadable = await store_of(make_session("odd", agent.session_id), room=7)
    assert unreadable.is_unreadable(agent.session_id)
    unsynced: Store[VoiceSession] = Store(VoiceSession.model_validate, {"uid": lambda session: session.metadata.uid})
    for store in (unreadable, unsynced):
        sweeping = Sweep(closer, store)
        assert [await sweeping.sweep() for _ in range(3)] == [0, 0, 0]
    assert ends(conversations)[agent.session_id] == (None, None)


async def test_more_than_one_look_can_take_is_gone_through_in_turns(
    conversations: ConversationsDatabase, closer: ConversationCloser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "MOST_PAGES", 1)
    conversations.query(
        "INSERT INTO conversation_sessions (session_id, room_id, is_local_mode, profile, attempts) "
        "SELECT gen_random_uuid(), 'room', true, 'default', 1 FROM generate_series(1, 1200) RETURNING 1"
    )
    sweeping = Sweep(closer, await store_of())
    # The third look finds the end, and the next begins anew.
    assert [await sweeping.sweep() for _ in range(5)] == [0, 0, 0, 1000, 200]


async def test_an_operator_that_died_before_it_closed_is_made_good_by_the_next(
    cluster: OperatorCluster, conversations: ConversationsDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cluster.create_pool()
    await cluster.create_profile()
    first = cluster.start_operator()  # without a database, as one that dies before it writes
    await cluster.wait_for_warm()
    await cluster.create_session("call", room="room")
    active = await cluster.wait_for_phase("call", "Active")
    AgentsConversation(conversations, active.metadata.uid).start()
    await cluster.stub_of(active).finish(EndReason.IDLE)
    await cluster.wait_for_phase("call", "Ended")
    await first.stop()

    monkeypatch.setattr(sweep, "SWEEP_SECONDS", 0.2)
    url = SecretStr(conversations.url("voice_closer"))
    cluster.settings = cluster.settings.model_copy(update={"database_url": url})
    cluster.start_operator()
    await eventually(lambda: ends(conversations)[active.metadata.uid][0] == "idle")
