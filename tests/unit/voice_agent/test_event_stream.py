"""The pod's event stream: replayed to whoever comes, with heartbeats, ended once."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from testing.waiting import let_others_run
from voice_agent import event_stream
from voice_agent.event_stream import EventStream
from voicesession.assignment import Accepted, ApiRequest, CallEnded, Heartbeat, RoomDeletionRequested, parse_pod_event
from voicesession.measures import Measured
from voicesession.models import EndReason

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def build_stream() -> EventStream:
    return EventStream(lambda: Heartbeat(at=NOW, agent_state="listening", unwritten_items=2))


async def read_all(stream: EventStream) -> list[Any]:
    return [parse_pod_event(line) async for line in stream.read()]


async def test_a_late_reader_gets_everything_from_the_beginning() -> None:
    stream = build_stream()
    stream.emit(Accepted(at=NOW))
    early = asyncio.create_task(read_all(stream))
    await let_others_run()
    stream.emit(RoomDeletionRequested(at=NOW))
    stream.emit(CallEnded(at=NOW, reason=EndReason.IDLE))
    stream.close()
    kinds = ["accepted", "room-deletion-requested", "ended"]
    assert [event.type for event in await early] == kinds
    assert [event.type for event in await read_all(stream)] == kinds


async def test_what_is_of_use_for_a_while_is_told_no_more_afterwards() -> None:
    stream = build_stream()
    stream.emit(Accepted(at=NOW))
    withdraw = stream.emit_passing(ApiRequest(at=NOW, number=1, method="RoomService/SendData", body=b"words"))
    early = asyncio.create_task(read_all(stream))
    await let_others_run()
    withdraw()
    stream.emit(RoomDeletionRequested(at=NOW))
    stream.close()
    assert [event.type for event in await early] == ["accepted", "api-request", "room-deletion-requested"]
    assert [event.type for event in await read_all(stream)] == ["accepted", "room-deletion-requested"]


async def test_what_is_counted_is_told_to_the_first_reader_alone() -> None:
    stream = build_stream()
    stream.emit(Accepted(at=NOW))
    lines = stream.read()
    await anext(lines)
    await lines.aclose()
    stream.emit_once(Measured(at=NOW, replies=1))
    breaking = stream.read()
    assert [json.loads(await anext(breaking))["type"] for _ in range(2)] == ["accepted", "measured"]
    await breaking.aclose()  # what it was given may not have arrived
    stream.emit_once(Measured(at=NOW, replies=2))
    stream.close()
    assert [event.type for event in await read_all(stream)] == ["accepted", "measured", "measured"]
    assert [event.type for event in await read_all(stream)] == ["accepted"]


async def test_heartbeats_fill_the_silence_and_are_not_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "HEARTBEAT_SECONDS", 0.01)
    stream = build_stream()
    stream.emit(Accepted(at=NOW))
    lines = stream.read()
    assert [json.loads(await anext(lines))["type"] for _ in range(3)] == ["accepted", "heartbeat", "heartbeat"]
    stream.close()
    await lines.aclose()
    assert [event.type for event in await read_all(stream)] == ["accepted"]


async def test_the_wire_is_camel_case() -> None:
    stream = build_stream()
    stream.emit(Heartbeat(at=NOW, agent_state="listening", unwritten_items=2))
    stream.close()
    (line,) = [line async for line in stream.read()]
    assert json.loads(line) == {
        "type": "heartbeat",
        "at": "2026-01-01T00:00:00Z",
        "agentState": "listening",
        "unwrittenItems": 2,
    }


async def test_waiting_for_readers() -> None:
    stream = build_stream()
    await stream.wait_until_read(1)
    reader = asyncio.create_task(read_all(stream))
    await let_others_run()
    await stream.wait_until_read(0.01)
    assert not reader.done()
    stream.close()
    await stream.wait_until_read(1)
    assert await reader == []
