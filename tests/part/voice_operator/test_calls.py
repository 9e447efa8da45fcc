"""A call from its VoiceSession to its end, as a real API server sees it."""

import re
import secrets
import subprocess
from collections.abc import Awaitable
from typing import Any

import aiohttp
import pytest
from kopf._core.reactor.inventory import ResourceMemories
from livekit import api
from prometheus_client import REGISTRY
from pydantic import SecretStr

from local_cluster.binaries import KUBERNETES
from local_cluster.ports import free_port
from testing.conversations import AgentsConversation, ConversationsDatabase
from testing.guest import Guest, guest_in
from testing.livekit import LiveKitServer
from testing.operator_cluster import OperatorCluster
from testing.stub_pod import Exit
from testing.tickets import TICKETS
from testing.waiting import eventually, stays
from testing.written_log import written_log
from voicesession import clock
from voicesession.assignment import FailingModel, Heartbeat, ModelFailed, OtherAgent
from voicesession.live_calls import LIVE_CALLS, LiveCall
from voicesession.measures import Measured, ModelFailures, Turn
from voicesession.models import EndReason, VoiceSession
from voicesession.names import AGENT_POOLS, AGENT_PROFILES, VOICE_SESSIONS
from voicesession.tickets import LEFT_TO_PEOPLE


async def test_a_call_gets_a_waiting_pod_is_followed_to_its_end_and_leaves_nothing(cluster: OperatorCluster) -> None:
    await cluster.create_pool()
    await cluster.create_profile(limits={"ttlSecondsAfterFinished": 1})
    cluster.start_operator()
    await cluster.wait_for_warm()

    session = await cluster.create_session("first", room="room-first", participantIdentity="customer")
    active = await cluster.wait_for_phase("first", "Active")

    assert active.status.start_type == "Warm"
    assert active.status.attempts == 1
    assert active.status.room == "room-first"
    assert active.status.connect_millis is not None
    stub = cluster.stub_of(active)
    assert stub.assignment is not None
    assert stub.assignment.session_id == session.metadata.uid
    assert stub.assignment.participant_identity == "customer"
    assert stub.assignment.provider == "local"

    await stub.finish(EndReason.PARTICIPANT_LEFT)
    ended = await cluster.wait_for_phase("first", "Ended")
    assert ended.status.end_reason == "participant_left"
    assert ended.status.reason == "CallEnded"

    async def nothing_left() -> bool:
        names = {pod["metadata"]["name"] for pod in await cluster.pods()}
        return stub.name not in names and await cluster.session("first") is None and len(names) == 1

    await eventually(nothing_left)


async def test_every_line_of_a_call_names_it(cluster: OperatorCluster) -> None:
    with written_log("voice_operator") as log:
        await _start(cluster)
        call = await _begin(cluster, tenant="acme")
        await cluster.stub_of(call).finish(EndReason.PARTICIPANT_LEFT, "the customer said: my card is 4711")
        await cluster.wait_for_phase("call", "Ended")
        await eventually(lambda: "call finished" in log.text)
    of_call = [line for line in log.lines if line.get("session") == call.metadata.uid]
    assert [line["message"] for line in of_call] == ["pod claimed", "agent joined", "call finished"]
    for line in of_call:
        assert (line["voicesession"], line["room"]) == ("call", call.spec.room)
        assert (line["tenant"], line["profile"]) == ("acme", "default")
        assert line["pod"] == call.status.pod_name
    assert (of_call[-1]["phase"], of_call[-1]["endReason"]) == ("Ended", "participant_left")
    assert "my card" not in log.text


# Whose agent's death is its end.
ONE_AGENT: dict[str, Any] = {"limits": {"maxAttempts": 1}}


async def _start(cluster: OperatorCluster, **profile: Any) -> None:
    await cluster.create_pool()
    await cluster.create_profile(**profile)
    cluster.start_operator()
    await cluster.wait_for_warm()


async def _begin(cluster: OperatorCluster, **spec: Any) -> VoiceSession:
    await cluster.create_session("call", **{"room": "room-" + secrets.token_hex(4), **spec})
    return await cluster.wait_for_phase("call", "Active")


async def _rooms(livekit: LiveKitServer, name: str) -> list[str]:
    async with livekit.client() as client:
        return [room.name for room in (await client.room.list_rooms(api.ListRoomsRequest(names=[name]))).rooms]


# Rooms


async def test_the_operator_makes_a_room_for_a_call_that_names_none(
    cluster: OperatorCluster, livekit: LiveKitServer
) -> None:
    await _start(cluster)
    session = await cluster.create_session("call", participantIdentity="someone")
    active = await cluster.wait_for_phase("call", "Active")
    assert active.status.room is not None
    assert active.status.room.startswith("voice_assistant_room_")
    assert len(active.status.room) >= len("voice_assistant_room_") + 22
    assert active.status.room_sid
    async with livekit.client() as client:
        (room,) = (await client.room.list_rooms(api.ListRoomsRequest(names=[active.status.room]))).rooms
    ticket = TICKETS.read(room.metadata, room.name)
    assert ticket.voice_session == session.metadata.name
    assert room.sid == active.status.room_sid
    assert (room.empty_timeout, room.departure_timeout) == (65, 20)
    assert cluster.stub_of(active).assignment is not None


async def test_the_room_is_deleted_when_the_call_has_ended(cluster: OperatorCluster, livekit: LiveKitServer) -> None:
    await _start(cluster)
    await cluster.create_session("call")
    active = await cluster.wait_for_phase("call", "Active")
    room = active.status.room or ""
    assert await _rooms(livekit, room)
    await cluster.stub_of(active).finish(EndReason.PARTICIPANT_LEFT)
    await eventually(lambda: _is_empty(_rooms(livekit, room)))


async def test_a_later_start_of_the_same_room_is_not_deleted(cluster: OperatorCluster, livekit: LiveKitServer) -> None:
    await _start(cluster)
    async with livekit.client() as client:
        first = await client.room.create_room(api.CreateRoomRequest(name="again"))
        await cluster.create_session("call", room="again", roomSid=first.sid)
        active = await cluster.wait_for_phase("call", "Active")
        await client.room.delete_room(api.DeleteRoomRequest(room="again"))
        second = await client.room.create_room(api.CreateRoomRequest(name="again"))
        assert second.sid != first.sid
        await cluster.stub_of(active).finish(EndReason.ROOM_CLOSED)
        await cluster.wait_for_phase("call", "Ended")
    await stays(lambda: _rooms(livekit, "again"), 0.5, "the later start was deleted as well")


async def test_the_agents_code_can_have_its_room_deleted(cluster: OperatorCluster, livekit: LiveKitServer) -> None:
    await _start(cluster)
    await cluster.create_session("call")
    active = await cluster.wait_for_phase("call", "Active")
    await cluster.stub_of(active).ask_for_room_deletion()
    await eventually(lambda: _is_empty(_rooms(livekit, active.status.room or "")))


async def _is_empty(asked: Awaitable[list[str]]) -> bool:
    return not await asked


# Ends


async def test_spec_end_ends_the_call_by_request(cluster: OperatorCluster) -> None:
    await _start(cluster)
    active = await _begin(cluster)
    await cluster.patch(VOICE_SESSIONS, "call", {"spec": {"end": True}})
    ended = await cluster.wait_for_phase("call", "Ended")
    assert ended.status.end_reason == "ended_by_request"
    (asked,) = cluster.stub_of(active).end_requests
    assert asked.reason == "ended_by_request"


async def test_a_call_that_is_ended_before_it_has_a_pod_gets_none(cluster: OperatorCluster) -> None:
    await cluster.create_pool(warm={"min": 0})
    await cluster.create_profile()
    cluster.kubelet.script.unschedulable = "no room"
    cluster.start_operator()
    await cluster.create_session("call", room="room", end=True)
    ended = await cluster.wait_for_phase("call", "Ended")
    assert ended.status.end_reason == "ended_by_request"


async def test_deleting_the_voicesession_ends_the_call_and_its_room(
    cluster: OperatorCluster, livekit: LiveKitServer
) -> None:
    await _start(cluster)
    await cluster.create_session("call")
    active = await cluster.wait_for_phase("call", "Active")
    stub = cluster.stub_of(active)
    await cluster.delete(VOICE_SESSIONS, "call")

    async def ended() -> bool:
        return stub.exited is not None and not await _rooms(livekit, active.status.room or "")

    await eventually(ended)
    assert [asked.reason for asked in stub.end_requests] == ["ended_by_request"]


async def test_deleting_a_voicesession_leaves_its_room_to_the_call_that_has_it(
    cluster: OperatorCluster, livekit: LiveKitServer
) -> None:
    await _start(cluster)
    async with livekit.client() as client:
        await client.room.create_room(api.CreateRoomRequest(name="shared"))
    await cluster.create_session("first", room="shared")
    await cluster.wait_for_phase("first", "Active")
    await cluster.create_session("second", room="shared")
    await cluster.wait_for_phase("second", "Failed")
    await cluster.delete(VOICE_SESSIONS, "second")
    await stays(lambda: _rooms(livekit, "shared"), 1, "the room of a deleted VoiceSession is deleted at once")


@pytest.mark.parametrize(
    ("exit_", "reason"),
    [
        (Exit(137, "OOMKilled"), "OutOfMemory"),
        (Exit(139, "Error"), "AgentCrashed"),
        (Exit(1, "Error", "Traceback: no JSON of ours"), "AgentCrashed"),
    ],
)
async def test_the_last_agent_that_dies_fails_its_call_with_the_reason(
    cluster: OperatorCluster, livekit: LiveKitServer, exit_: Exit, reason: str
) -> None:
    await _start(cluster, **ONE_AGENT)
    await cluster.create_session("call")
    active = await cluster.wait_for_phase("call", "Active")
    await cluster.stub_of(active).crash(exit_)
    failed = await cluster.wait_for_phase("call", "Failed")
    assert failed.status.reason == reason
    assert failed.status.end_reason == "error"
    await eventually(lambda: _is_empty(_rooms(livekit, active.status.room or "")))


async def test_an_error_that_the_agent_tells_fails_the_call_with_its_message(cluster: OperatorCluster) -> None:
    await _start(cluster)
    active = await _begin(cluster)
    await cluster.stub_of(active).finish(EndReason.ERROR, "the provider refused the API key (401)")
    failed = await cluster.wait_for_phase("call", "Failed")
    assert failed.status.reason == "AgentError"
    assert failed.status.message == "the provider refused the API key (401)"


async def test_a_pod_that_answers_nothing_and_is_not_in_its_room_has_crashed(
    cluster: OperatorCluster,
) -> None:
    await _start(cluster, **ONE_AGENT)
    active = await _begin(cluster)
    stub = cluster.stub_of(active)
    cluster.kubelet.lost.add(stub.name)
    stub.script.silent = True
    failed = await cluster.wait_for_phase("call", "Failed", seconds=40)
    assert failed.status.reason == "AgentHung"


async def test_a_pod_that_falls_silent_and_is_still_in_its_room_is_left_alone(cluster: OperatorCluster) -> None:
    await _start(cluster)
    cluster.kubelet.pod_script.really_joins = True
    active = await _begin(cluster)
    stub = cluster.stub_of(active)
    stub.script.silent = True

    async def is_active() -> bool:
        session = await cluster.session("call")
        return session is not None and session.status.phase == "Active"

    await stays(is_active, 16, "it was given up after the heartbeat's deadline and several tries")
    stub.script.silent = False
    await stub.finish(EndReason.IDLE)
    await cluster.wait_for_phase("call", "Ended")


async def test_the_last_agent_whose_pod_is_deleted_ends_its_call(cluster: OperatorCluster) -> None:
    await _start(cluster, **ONE_AGENT)
    active = await _begin(cluster)
    stub = cluster.stub_of(active)
    await cluster.api.delete_pod(stub.name, stub.uid)
    failed = await cluster.wait_for_phase("call", "Failed")
    assert (failed.status.reason, failed.status.end_reason) == ("PodDeleted", "shutdown")


async def test_the_conversation_of_the_last_agent_that_died_is_closed_in_postgres(
    cluster: OperatorCluster, conversations: ConversationsDatabase
) -> None:
    cluster.settings = cluster.settings.model_copy(
        update={"database_url": SecretStr(conversations.url("voice_closer"))}
    )
    await _start(cluster, **ONE_AGENT)
    active = await _begin(cluster)
    AgentsConversation(conversations, active.metadata.uid).start()
    await cluster.stub_of(active).crash()
    await cluster.wait_for_phase("call", "Failed")

    async def closed() -> Any:
        (row,) = conversations.query("SELECT end_reason FROM voice.conversation_sessions")
        return row["end_reason"]

    assert await eventually(closed) == "error"


async def test_a_slow_join_is_told_and_then_done(cluster: OperatorCluster) -> None:
    await _start(cluster)
    cluster.kubelet.pod_script.join_seconds = 2.5
    await cluster.create_session("call", room="room")
    starting = await cluster.wait_for_phase("call", "Starting")
    assert starting.status.pod_name
    await cluster.wait_for_phase("call", "Active")


# A human who has taken over


@pytest.mark.parametrize("ended_for_all", [False, True])
async def test_an_agent_may_leave_and_the_people_stay_unless_somebody_ends_it_for_all(
    cluster: OperatorCluster, livekit: LiveKitServer, ended_for_all: bool
) -> None:
    await _start(cluster)
    async with guest_in(livekit) as customer:
        active = await _begin(cluster, room=customer.room.name)
        human = Guest()
        await human.room.connect(livekit.url, livekit.customer_token(customer.room.name, "human"))
        if ended_for_all:
            await cluster.api.end_session("call", EndReason.ENDED_BY_REQUEST)
            await eventually(lambda: cluster.stub_of(active).end_requests)
        await cluster.stub_of(active).finish(EndReason.ENDED_BY_REQUEST)
        await cluster.wait_for_phase("call", "Ended")
        if ended_for_all:
            await human.until_gone()
            await customer.until_gone()
        else:
            await eventually(lambda: customer.room.metadata == LEFT_TO_PEOPLE)
            assert not human.gone.is_set()
            assert not customer.gone.is_set()
            await human.room.disconnect()


# What it costs the API server


async def test_a_warm_call_costs_at_most_six_writes_and_two_events(cluster: OperatorCluster) -> None:
    await cluster.create_pool()
    await cluster.create_profile(limits={"ttlSecondsAfterFinished": 1})
    made = cluster.start_hooked_operator()
    await cluster.wait_for_warm()
    await eventually(lambda: _statuses_are_written(cluster))
    client = made[0]
    before, server_before = len(client.requests), _session_writes(cluster)
    active = await _begin(cluster)
    await cluster.stub_of(active).finish(EndReason.PARTICIPANT_LEFT)

    async def gone() -> bool:
        return await cluster.session("call") is None

    await eventually(gone)
    await cluster.wait_for_warm()
    # By the API server's own count, kopf's client included: created by us; joined, ended, deleted by the operator.
    await stays(lambda: _session_writes(cluster) == server_before + 4, 0.5, "something was written after the end")
    writes = [request for request in client.requests[before:] if request[0] != "GET"]
    events = [request for request in writes if request[1].endswith("/events")]
    pool_writes = [request for request in writes if "/agentpools/" in request[1] or "/agentprofiles/" in request[1]]
    session_writes = [request for request in writes if request not in events and request not in pool_writes]
    assert len(session_writes) <= 6, session_writes
    assert len(events) <= 2
    assert len(pool_writes) <= 4  # at most every 5 s each


async def _statuses_are_written(cluster: OperatorCluster) -> bool:
    pool, profile = await cluster.get(AGENT_POOLS, "default"), await cluster.get(AGENT_PROFILES, "default")
    assert pool
    assert profile
    return pool.get("status", {}).get("ready") == 1 and "status" in profile


def _session_writes(cluster: OperatorCluster) -> int:
    command = [str(KUBERNETES.path("kubectl")), "--kubeconfig", str(cluster.kubeconfig), "get", "--raw", "/metrics"]
    metrics = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    counts = re.findall(r'^apiserver_request_total{(.*resource="voicesessions".*)} (\d+)', metrics, re.MULTILINE)
    return sum(int(count) for labels, count in counts if re.search('verb="(POST|PUT|PATCH|APPLY|DELETE)"', labels))


async def test_the_api_server_keeps_no_record_of_who_set_a_claimed_pods_fields(cluster: OperatorCluster) -> None:
    await _start(cluster)
    active = await _begin(cluster)
    name = active.status.pod_name or ""
    assert "managedFields" not in (await cluster.api.get_pod(name))["metadata"]

    touch = [{"op": "add", "path": "/metadata/annotations/example.com~1touched", "value": "yes"}]
    touched = await cluster.api.patch_pod(name, touch)
    assert touched["metadata"]["annotations"]["example.com/touched"] == "yes"
    assert "managedFields" not in touched["metadata"]


async def test_kopf_prepares_no_event(cluster: OperatorCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = []
    monkeypatch.setattr(ResourceMemories, "recall", lambda *_, **event: prepared.append(event))
    await _start(cluster)
    active = await _begin(cluster)
    await cluster.stub_of(active).finish(EndReason.PARTICIPANT_LEFT)
    await cluster.wait_for_phase("call", "Ended")
    assert prepared == []


async def test_the_events_of_a_call_tell_its_story(cluster: OperatorCluster) -> None:
    await _start(cluster, **ONE_AGENT)
    active = await _begin(cluster)
    await cluster.stub_of(active).crash(Exit(137, "OOMKilled"))
    await cluster.wait_for_phase("call", "Failed")
    events = await _events(cluster, 2)
    assert events == [("Normal", "AgentJoined"), ("Warning", "OutOfMemory")]


async def test_somebody_elses_agent_in_the_room_is_told_once_for_each_call(cluster: OperatorCluster) -> None:
    """Also where the next operator hears of it from the pod again."""
    counted = _other_agents()
    await _start(cluster)
    active = await _begin(cluster)
    await cluster.stub_of(active).say(OtherAgent(at=clock.now(), identity="agent-AJ_1"))
    assert await _events(cluster, 2) == [("Normal", "AgentJoined"), ("Warning", "OtherAgent")]
    assert _other_agents() == counted + 1
    await cluster.stop_operators()
    cluster.start_operator()
    await eventually(lambda: _other_agents() == counted + 2)
    await cluster.stub_of(active).finish(EndReason.PARTICIPANT_LEFT)
    await cluster.wait_for_phase("call", "Ended")
    assert await _events(cluster, 3) == [("Normal", "AgentJoined"), ("Normal", "CallEnded"), ("Warning", "OtherAgent")]


async def test_a_model_that_has_failed_in_one_call_is_asked_last_in_the_next(cluster: OperatorCluster) -> None:
    counted = _fallbacks()
    await _start(cluster)
    first = await _begin(cluster)
    assignment = cluster.stub_of(first).assignment
    assert assignment is not None
    assert assignment.failing is None
    await cluster.stub_of(first).say(ModelFailed(at=clock.now(), provider="cloud", part="llm"))
    failures = [ModelFailures(part="llm", provider="cloud", outcome="fallback", count=1)]
    await cluster.stub_of(first).say(Measured(at=clock.now(), failures=failures))
    await eventually(lambda: _fallbacks() == counted + 1)
    await cluster.create_session("next", room="room-" + secrets.token_hex(4))
    assignment = cluster.stub_of(await cluster.wait_for_phase("next", "Active")).assignment
    assert assignment is not None
    assert assignment.failing == [FailingModel(provider="cloud", part="llm")]


async def test_who_is_on_the_operators_own_machine_is_told_how_calls_go_and_nobody_else(
    cluster: OperatorCluster,
) -> None:
    port = free_port()
    await cluster.create_pool()
    await cluster.create_profile()
    cluster.start_operator(calls_port=port)
    active = await _begin(cluster)
    stub = cluster.stub_of(active)
    for millis in (900, 700):
        await stub.say(Measured(at=clock.now(), turn=Turn(answer_millis=millis), replies=1))
    await stub.say(Measured(at=clock.now(), turn=Turn(end_of_turn_millis=300)))
    told = LiveCall(name="call", agent_state="speaking", memory_bytes=10**8, answers_millis=[900, 700])

    async def is_told() -> bool:
        await stub.say(Heartbeat(at=clock.now(), agent_state="speaking", memory_bytes=10**8))
        return await _ask_for_calls(port) == [told]

    await eventually(is_told)

    async def is_no_word_of_the_codes_told() -> bool:
        await stub.say(Heartbeat(at=clock.now(), agent_state="Robert said", memory_bytes=10**8))
        return await _ask_for_calls(port) == [told.model_copy(update={"agent_state": None})]

    await eventually(is_no_word_of_the_codes_told)
    with pytest.raises(aiohttp.ClientConnectorError):
        await _ask_for_calls(port, "127.0.0.2")

    await stub.finish(EndReason.PARTICIPANT_LEFT)
    await cluster.wait_for_phase("call", "Ended")
    assert await _ask_for_calls(port) == []


async def _ask_for_calls(port: int, host: str = "127.0.0.1") -> list[LiveCall]:
    async with aiohttp.ClientSession() as client, client.get(f"http://{host}:{port}/calls") as answer:
        return LIVE_CALLS.validate_json(await answer.text())


def _fallbacks() -> float:
    labels = {"provider": "cloud", "part": "llm", "outcome": "fallback"}
    return REGISTRY.get_sample_value("voice_agent_model_failures_total", labels) or 0.0


def _other_agents() -> float:
    return REGISTRY.get_sample_value("voice_operator_other_agents_total") or 0.0


async def _events(cluster: OperatorCluster, count: int) -> list[tuple[str, str]]:
    """Returns type and reason of the call's Events, sorted, once there are so many."""

    async def told() -> list[tuple[str, str]]:
        listed = await cluster.api.request("GET", f"/api/v1/namespaces/{cluster.namespace}/events")
        events = [event for event in listed["items"] if event["involvedObject"]["name"] == "call"]
        return [(event["type"], event["reason"]) for event in events] if len(events) >= count else []

    return sorted(await eventually(told))
