"""The door's spans are in their call's trace; and in their caller's, where the door knows who that is."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from testing.collector import Collector, SentSpan, collecting
from testing.fake_cluster import FakeCluster
from testing.livekit import LiveKitServer
from testing.token_service_app import FrontDoor, room_event, room_of, running_front_door, ticket_of
from voice_operator.calls.call_traces import trace_of
from voice_telemetry.traces import end_traces
from voicesession.models import VoiceSession
from voicesession.names import TRACEPARENT_ANNOTATION
from voicesession.tickets import CallTicket

KEY = "a-backends-key"
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = {"traceparent": f"00-{TRACE}-{SPAN}-01"}


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with collecting("voice-token-service") as running:
        yield running


@pytest.fixture
async def known_door(
    collector: Collector,
    cluster: FakeCluster,
    livekit: LiveKitServer,
    tmp_path: Path,
) -> AsyncIterator[FrontDoor]:
    """Asks for keys."""
    keys = tmp_path / "keys"
    keys.write_text(f"acme:{hashlib.sha256(KEY.encode()).hexdigest()}\n")
    async with running_front_door(
        cluster, livekit_url=livekit.url, auth_mode="api-key", api_keys_file=str(keys)
    ) as running:
        yield running


@pytest.fixture
async def unknowing_door(collector: Collector, cluster: FakeCluster) -> AsyncIterator[FrontDoor]:
    """Asks nobody for a key."""
    async with running_front_door(cluster) as running:
        yield running


async def sent(collector: Collector) -> dict[str, SentSpan]:
    """Returns all spans by name."""
    await asyncio.to_thread(end_traces)
    assert len({span.name for span in collector.spans}) == len(collector.spans)
    return {span.name: span for span in collector.spans}


async def start_call(door: FrontDoor, cluster: FakeCluster, key: str | None, headers: dict[str, str]) -> VoiceSession:
    """Asks for a token and starts its room; returns the VoiceSession that came of it."""
    answer = await door.call("POST", "/api/token", {}, key, headers=headers)
    assert answer.status == 201, answer.body
    token = answer.body["participant_token"]
    event = room_event(room_of(token), "RM_1", ticket_of(token))
    assert (await door.webhook(event)).status == 200
    [made] = cluster.sessions.values()
    return VoiceSession.model_validate(made)


async def test_a_call_has_the_request_and_its_admission_below_it_and_is_itself_in_its_callers_trace(
    known_door: FrontDoor, cluster: FakeCluster, collector: Collector
) -> None:
    session = await start_call(known_door, cluster, KEY, SAMPLED)

    assert session.metadata.annotations == {TRACEPARENT_ANNOTATION: SAMPLED["traceparent"]}
    trace = trace_of(session)
    assert (f"{trace.trace_id:032x}", f"{trace.above:016x}") == (TRACE, SPAN)
    spans = await sent(collector)
    assert spans.keys() == {"POST /api/token", "admit the room"}
    for span in spans.values():
        assert (span.trace, span.parent, span.links) == (TRACE, f"{trace.root:016x}", ())
        assert span.service == "voice-token-service"
        assert KEY not in span.text


async def test_a_call_that_is_opened_at_once_joins_its_callers_trace(
    known_door: FrontDoor, cluster: FakeCluster, collector: Collector
) -> None:
    answer = await known_door.call(
        "POST", "/api/connection-details", {"variables": {"pin": "8812"}}, KEY, headers=SAMPLED
    )
    assert answer.status == 201, answer.body
    [made] = cluster.sessions.values()

    assert made["metadata"]["annotations"] == {TRACEPARENT_ANNOTATION: SAMPLED["traceparent"]}
    [request] = (await sent(collector)).values()
    assert (request.name, request.trace) == ("POST /api/connection-details", TRACE)
    assert "8812" not in request.text


async def test_nobody_unknown_chooses_a_calls_trace(
    unknowing_door: FrontDoor, cluster: FakeCluster, collector: Collector
) -> None:
    session = await start_call(unknowing_door, cluster, None, SAMPLED)

    assert session.metadata.annotations == {}
    spans = await sent(collector)
    own = f"{trace_of(session).trace_id:032x}"
    assert own != TRACE
    assert {span.trace for span in spans.values()} == {own}
    assert spans["POST /api/token"].links == (TRACE,)


@pytest.mark.parametrize(
    "traceparent", [f"00-{TRACE}-{SPAN}-00", "00-what-is-this-01", f"00-{'0' * 32}-{SPAN}-01", "x" * 4000]
)
async def test_a_span_that_is_none_or_not_sampled_is_not_joined(
    known_door: FrontDoor, cluster: FakeCluster, collector: Collector, traceparent: str
) -> None:
    session = await start_call(known_door, cluster, KEY, {"traceparent": traceparent})

    assert session.metadata.annotations == {}
    spans = await sent(collector)
    assert {(span.trace, span.links) for span in spans.values()} == {(f"{trace_of(session).trace_id:032x}", ())}


async def test_where_nothing_is_traced_nothing_is_kept_of_the_callers_trace(cluster: FakeCluster) -> None:
    async with running_front_door(cluster) as door:
        answer = await door.call("POST", "/api/token", {}, headers=SAMPLED)
    assert CallTicket.model_validate_json(ticket_of(answer.body["participant_token"])).traceparent is None
