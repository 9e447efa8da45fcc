"""Started rooms become VoiceSessions or are turned away: signed webhooks, a real LiveKit, Kubernetes in memory."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import pytest
from livekit import api
from prometheus_client import REGISTRY

from kube.client import ForbiddenError, KubernetesError, NotFoundError
from local_cluster.ports import free_port
from rooms.client import read_room
from rooms.tokens import Customer
from testing.fake_cluster import FakeCluster
from testing.guest import Guest
from testing.livekit import LiveKitServer, new_room, running_livekit
from testing.tickets import FOREIGN_TICKETS, TICKETS, sign_ticket
from testing.token_service_app import FrontDoor, read_token, room_event, room_of, running_front_door, ticket_of
from testing.waiting import eventually, stays
from testing.written_log import written_log
from voicesession import clock
from voicesession.admission import Refuse, decide_admission
from voicesession.models import EffectiveLimits
from voicesession.names import (
    AGENT_PROFILES,
    CALL_LABEL,
    END_REASON_ANNOTATION,
    ROOM_HASH_LABEL,
    VOICE_SESSIONS,
    short_hash,
    voice_session_name,
)
from voicesession.tickets import new_ticket

RANDOM_KEY = "L3wPTn86xVucPi2PbxybEA"


@pytest.fixture
def door_port() -> int:
    return free_port()


@pytest.fixture
def calling_livekit(door_port: int) -> Iterator[LiveKitServer]:
    """A LiveKit that sends its webhooks to `door_port`; a new one each time, since rooms live on for a while."""
    with running_livekit(f"http://127.0.0.1:{door_port}/livekit/webhook") as server:
        yield server


@pytest.fixture
async def called_door(cluster: FakeCluster, calling_livekit: LiveKitServer, door_port: int) -> AsyncIterator[FrontDoor]:
    """The front door that this LiveKit sends its webhooks to."""
    url = calling_livekit.url
    async with running_front_door(cluster, port=door_port, livekit_url=url, livekit_public_url=url) as running:
        yield running


@pytest.fixture
async def quiet_door(cluster: FakeCluster, livekit: LiveKitServer) -> AsyncIterator[FrontDoor]:
    """A front door that gets only the webhooks that the test sends."""
    async with running_front_door(cluster, livekit_url=livekit.url, livekit_public_url=livekit.url) as running:
        yield running


async def get_token(door: FrontDoor, **body: Any) -> str:
    answer = await door.call("POST", "/api/token", body)
    assert answer.status == 201, answer.body
    return str(answer.body["participant_token"])


async def rooms_now(livekit: LiveKitServer) -> set[str]:
    async with livekit.client() as client:
        return {room.name for room in (await client.room.list_rooms(api.ListRoomsRequest())).rooms}


def count_admissions(outcome: str) -> float:
    return REGISTRY.get_sample_value("voice_token_service_admissions_total", {"outcome": outcome}) or 0.0


def count_starts(within: str = "+Inf") -> float:
    """Returns how many VoiceSessions webhooks have made, no more than so many seconds after their rooms' start."""
    return REGISTRY.get_sample_value("voice_token_service_start_seconds_bucket", {"le": within}) or 0.0


# One room, one VoiceSession


async def test_the_log_names_the_room_and_then_its_voice_session(called_door: FrontDoor, cluster: FakeCluster) -> None:
    with written_log("token_service") as log:
        token = await get_token(called_door, variables={"customer": "Ada Lovelace"})
        await Guest().room.connect(called_door.service.settings.livekit_public_url, token)
        await eventually(lambda: "VoiceSession created" in log.text)
    ((name, session),) = cluster.sessions.items()
    asked = next(line for line in log.lines if line.get("route") == "/api/token")
    created = next(line for line in log.lines if line["message"] == "VoiceSession created")
    assert asked["room"] == created["room"] == room_of(token)
    assert created["session"] == session["metadata"]["uid"]
    assert (created["voicesession"], created["profile"]) == (name, session["spec"]["profile"])
    assert asked["requestId"] != created["requestId"]
    assert "Lovelace" not in log.text


async def test_a_customer_who_connects_gets_the_voice_session_that_the_token_asked_for(
    called_door: FrontDoor, cluster: FakeCluster
) -> None:
    token = await get_token(called_door, llm_provider="local", variables={"customer": "Ada"})
    guest = Guest()
    await guest.room.connect(called_door.service.settings.livekit_public_url, token)
    await eventually(lambda: cluster.sessions)
    ((name, session),) = cluster.sessions.items()
    sid = await guest.room.sid
    assert name == voice_session_name(sid)
    assert session["spec"]["roomSid"] == sid
    assert session["spec"]["participantIdentity"] == guest.room.local_participant.identity
    assert (session["spec"]["llmProvider"], session["spec"]["variables"]) == ("local", {"customer": "Ada"})
    await stays(lambda: len(cluster.sessions) == 1, 0.5, "the customer's arrival, an event of its own, made another")
    await guest.room.disconnect()


async def test_a_room_started_twice_told_by_three_replicas_is_one_voice_session(
    quiet_door: FrontDoor, cluster: FakeCluster, livekit: LiveKitServer
) -> None:
    event = room_event("room", "RM_one", sign_ticket("room"), created_at=clock.now() - timedelta(seconds=6))
    before, soon = count_starts(), count_starts("5.0")
    async with (
        running_front_door(cluster, livekit_url=livekit.url) as second,
        running_front_door(cluster, livekit_url=livekit.url) as third,
    ):
        answers = await asyncio.gather(*(door.webhook(event) for door in (quiet_door, second, third) * 5))
    assert {answer.status for answer in answers} == {200}
    assert list(cluster.sessions) == [voice_session_name("RM_one")]
    assert (count_starts(), count_starts("5.0")) == (before + 1, soon), "its delay is told once"


async def test_a_room_that_is_not_ours_is_left_alone(quiet_door: FrontDoor, cluster: FakeCluster) -> None:
    for metadata in ("", "{}", '{"hello": "world"}'):
        assert (await quiet_door.webhook(room_event("room", "RM_x", metadata))).status == 200
    assert not cluster.sessions


async def test_a_ticket_of_another_installation_or_of_nobody_is_left_alone_and_counted(
    quiet_door: FrontDoor, cluster: FakeCluster
) -> None:
    ticket = new_ticket("default")
    foreign = FOREIGN_TICKETS.sign(ticket, "room")
    unsigned = ticket.model_dump_json(by_alias=True, exclude_none=True)
    of_another_room = sign_ticket("another-room")
    before = count_admissions("foreign")
    for number, metadata in enumerate((foreign, unsigned, of_another_room)):
        event = room_event("room", f"RM_{number}", metadata, event="participant_joined", identity="ada")
        assert (await quiet_door.webhook(event)).status == 200
    assert not cluster.sessions
    assert count_admissions("foreign") == before + 3


async def test_a_room_that_livekit_starts_anew_under_a_live_call_is_served(
    quiet_door: FrontDoor, cluster: FakeCluster
) -> None:
    """LiveKit was restarted: the customer's refreshed token makes the room again, hours after the ticket's issue."""
    metadata = sign_ticket("room", issued_at=clock.now() - timedelta(hours=2))
    cluster.put(VOICE_SESSIONS, "vs-one", {"profile": "default", "room": "room", "roomSid": "RM_one"})
    await cluster.until_seen()
    for kind in ("room_started", "participant_joined"):
        event = room_event("room", "RM_two", metadata, event=kind, identity="ada")
        assert (await quiet_door.webhook(event)).status == 200
    assert list(cluster.sessions) == ["vs-one"]


async def test_a_room_whose_call_cannot_be_read_here_is_left_alone(
    quiet_door: FrontDoor, cluster: FakeCluster, livekit: LiveKitServer
) -> None:
    metadata = sign_ticket("of-a-newer-release", issued_at=clock.now() - timedelta(hours=2))
    labels = {ROOM_HASH_LABEL: short_hash("of-a-newer-release")}
    cluster.put(VOICE_SESSIONS, "vs-newer", {"profile": {"of": "a newer release"}}, labels=labels)
    async with livekit.client() as client:
        room = await client.room.create_room(api.CreateRoomRequest(name="of-a-newer-release", metadata=metadata))
        event = room_event(room.name, room.sid, metadata, event="participant_joined", identity="ada")
        assert (await quiet_door.webhook(event)).status == 200
        left = await client.room.list_rooms(api.ListRoomsRequest(names=[room.name]))
    assert [each.sid for each in left.rooms] == [room.sid]


def wanted_end(cluster: FakeCluster, name: str) -> tuple[bool, str | None]:
    session = cluster.sessions[name]
    annotations = session["metadata"].get("annotations", {})
    return session["spec"].get("end", False), annotations.get(END_REASON_ANNOTATION)


GONE = (True, "participant_left")


async def test_a_customer_who_hangs_up_while_the_call_waits_ends_it(
    called_door: FrontDoor, cluster: FakeCluster
) -> None:
    guest = Guest()
    await guest.room.connect(called_door.service.settings.livekit_public_url, await get_token(called_door))
    await eventually(lambda: cluster.sessions)
    (name,) = cluster.sessions
    assert wanted_end(cluster, name) == (False, None)
    await guest.room.disconnect()
    await eventually(lambda: wanted_end(cluster, name) == GONE, 15)


async def test_a_customer_who_returns_while_the_call_waits_keeps_it(
    called_door: FrontDoor, cluster: FakeCluster
) -> None:
    cluster.put(AGENT_PROFILES, "default", {"limits": {"returnGraceSeconds": 2}})
    await cluster.until_seen()
    url, token = called_door.service.settings.livekit_public_url, await get_token(called_door)
    first, second = Guest(), Guest()
    await first.room.connect(url, token)
    await eventually(lambda: cluster.sessions)
    (name,) = cluster.sessions
    await first.room.disconnect()
    await second.room.connect(url, token)
    await stays(lambda: wanted_end(cluster, name) == (False, None), 4, "the call of a customer who is back was ended")
    await second.room.disconnect()
    await eventually(lambda: wanted_end(cluster, name) == GONE)


@pytest.mark.parametrize(
    "changes", [{"disconnectReason": "PARTICIPANT_REMOVED"}, {"disconnectReason": "CLIENT_INITIATED", "kind": "SIP"}]
)
async def test_who_was_put_out_or_hangs_up_a_telephone_while_the_call_waits_is_not_waited_for(
    quiet_door: FrontDoor, cluster: FakeCluster, changes: dict[str, str]
) -> None:
    asked = {"profile": "default", "room": "room", "roomSid": "RM_one", "participantIdentity": "ada"}
    cluster.put(VOICE_SESSIONS, "vs-one", asked)
    await cluster.until_seen()
    event = room_event("room", "RM_one", "", event="participant_left", identity="ada")
    event["participant"] |= changes
    assert (await quiet_door.webhook(event)).status == 200
    assert wanted_end(cluster, "vs-one") == GONE


async def test_a_room_that_closes_while_its_call_waits_ends_it(
    called_door: FrontDoor, cluster: FakeCluster, calling_livekit: LiveKitServer
) -> None:
    details = (await called_door.call("POST", "/api/connection-details")).body
    (name,) = cluster.sessions
    async with calling_livekit.client() as client:
        await client.room.delete_room(api.DeleteRoomRequest(room=details["roomName"]))
    await eventually(lambda: wanted_end(cluster, name) == GONE)


@pytest.mark.parametrize(
    ("phase", "changes"),
    [
        ("Active", {}),  # its agent is there, and decides by itself
        ("Ended", {}),
        (None, {"sid": "RM_before"}),  # an earlier start of the room
        (None, {"identity": "bob"}),  # not its customer
        (None, {"reason": "CONNECTION_TIMEOUT"}),  # may come back
        (None, {"age": 60}),  # a replay
    ],
)
async def test_a_departure_that_frees_nobody_changes_nothing(
    quiet_door: FrontDoor, cluster: FakeCluster, phase: str | None, changes: dict[str, Any]
) -> None:
    asked = {"profile": "default", "room": "room", "roomSid": "RM_one", "participantIdentity": "ada"}
    cluster.put(VOICE_SESSIONS, "vs-one", asked, {"phase": phase} if phase else {})
    await cluster.until_seen()
    at = clock.now() - timedelta(seconds=changes.get("age", 0))
    sid, identity = changes.get("sid", "RM_one"), changes.get("identity", "ada")
    event = room_event("room", sid, "", event="participant_left", identity=identity, created_at=at)
    event["participant"]["disconnectReason"] = changes.get("reason", "CLIENT_INITIATED")
    assert (await quiet_door.webhook(event)).status == 200
    assert wanted_end(cluster, "vs-one") == (False, None)


async def test_a_departure_is_asked_for_again_while_the_api_server_is_away(
    quiet_door: FrontDoor, cluster: FakeCluster
) -> None:
    cluster.put(VOICE_SESSIONS, "vs-one", {"profile": "default", "room": "room", "roomSid": "RM_one"})
    await cluster.until_seen()
    event = room_event("room", "RM_one", "", event="room_finished")
    cluster.away = True
    assert (await quiet_door.webhook(event)).status == 503
    cluster.away = False
    assert (await quiet_door.webhook(event)).status == 200
    assert wanted_end(cluster, "vs-one") == GONE


async def test_other_events_change_nothing(quiet_door: FrontDoor, cluster: FakeCluster) -> None:
    metadata = sign_ticket("room")
    for event in ("room_finished", "participant_left", "track_published", "something_new"):
        assert (await quiet_door.webhook(room_event("room", "RM_x", metadata, event=event))).status == 200
    assert (await quiet_door.webhook({"event": "egress_started", "egressInfo": {"egressId": "x"}})).status == 200
    agent = room_event("room", "RM_x", metadata, event="participant_joined", identity="agent")
    agent["participant"]["kind"] = "AGENT"
    assert (await quiet_door.webhook(agent)).status == 200
    assert not cluster.sessions


async def test_a_lost_room_started_is_made_good_by_the_customer_s_arrival(
    quiet_door: FrontDoor, cluster: FakeCluster
) -> None:
    event = room_event("room", "RM_one", sign_ticket("room"), event="participant_joined", identity="ada")
    assert (await quiet_door.webhook(event)).status == 200
    assert len(cluster.sessions) == 1


# Old, replayed, beyond the limits


async def test_an_old_webhook_is_believed_only_if_livekit_has_the_room(
    quiet_door: FrontDoor, cluster: FakeCluster, livekit: LiveKitServer
) -> None:
    old = clock.now() - timedelta(seconds=60)
    metadata = sign_ticket("old-but-there")
    gone = room_event("gone", "RM_gone", sign_ticket("gone"), created_at=old)
    assert (await quiet_door.webhook(gone)).status == 200
    assert not cluster.sessions
    async with livekit.client() as client:
        room = await client.room.create_room(api.CreateRoomRequest(name="old-but-there", metadata=metadata))
    earlier = room_event("old-but-there", "RM_earlier_start", metadata, created_at=old)
    assert (await quiet_door.webhook(earlier)).status == 200
    assert not cluster.sessions
    same = room_event("old-but-there", room.sid, metadata, created_at=old)
    assert (await quiet_door.webhook(same)).status == 200
    assert list(cluster.sessions) == [voice_session_name(room.sid)]


async def test_a_webhook_replayed_after_its_call_starts_nothing(quiet_door: FrontDoor, cluster: FakeCluster) -> None:
    event = room_event("room", "RM_one", sign_ticket("room"))
    await quiet_door.webhook(event)
    (name,) = cluster.sessions
    await cluster.finish_calls()
    assert (await quiet_door.webhook(event)).status == 200
    assert list(cluster.sessions) == [name]
    # Long after, when the VoiceSession has been cleaned up, the event is old and LiveKit knows no such room.
    cluster.remove(VOICE_SESSIONS, name)
    await cluster.until_seen()
    event["createdAt"] = str(int(event["createdAt"]) - 400)
    assert (await quiet_door.webhook(event)).status == 200
    assert not cluster.sessions


async def test_a_ticket_starts_three_calls_and_no_fourth(quiet_door: FrontDoor, cluster: FakeCluster) -> None:
    metadata = sign_ticket("room")
    for number in range(6):
        event = room_event("room", f"RM_{number}", metadata)
        assert (await quiet_door.webhook(event)).status == 200
        await cluster.finish_calls()
    assert len(cluster.sessions) == 3


async def test_an_idempotency_key_does_not_renew_the_number_of_starts(
    quiet_door: FrontDoor, cluster: FakeCluster
) -> None:
    for number in range(6):
        headers = {"Idempotency-Key": RANDOM_KEY}
        answer = await quiet_door.call("POST", "/api/token", {}, headers=headers)
        token = answer.body["participant_token"]
        await quiet_door.webhook(room_event(room_of(token), f"RM_{number}", ticket_of(token)))
        await cluster.finish_calls()
    assert len(cluster.sessions) == 3


async def test_a_ticket_older_than_its_age_starts_nothing(quiet_door: FrontDoor, cluster: FakeCluster) -> None:
    metadata = sign_ticket("room", issued_at=clock.now() - timedelta(seconds=121))
    event = room_event("room", "RM_old", metadata)
    assert (await quiet_door.webhook(event)).status == 200
    assert not cluster.sessions


async def test_a_refreshed_token_restarts_the_room_but_gets_no_agent_beyond_its_age(
    cluster: FakeCluster, calling_livekit: LiveKitServer, door_port: int
) -> None:
    """LiveKit gives connected customers a token that lives ten minutes longer, with the same ticket."""
    async with running_front_door(
        cluster,
        port=door_port,
        livekit_url=calling_livekit.url,
        max_ticket_age_seconds=10,
        token_lifetime_seconds=10,
    ) as door:
        aged = sign_ticket("refreshed-room", issued_at=clock.now() - timedelta(seconds=11))
        token = door.service.tokens.sign_customer(
            Customer("refreshed-room", "ada"), aged, EffectiveLimits(), lifetime_seconds=600
        )
        guest = Guest()
        await guest.room.connect(calling_livekit.url, token)
        await guest.until_gone()
        assert [message["reason"] for message in guest.heard] == ["ticket-expired"]
        assert not cluster.sessions
        assert "refreshed-room" not in await rooms_now(calling_livekit)


async def test_a_customer_of_a_full_profile_is_told_and_the_room_is_closed(
    called_door: FrontDoor, cluster: FakeCluster, calling_livekit: LiveKitServer
) -> None:
    token = await get_token(called_door)
    cluster.put(AGENT_PROFILES, "default", {"pool": "default", "maxSessions": 1})
    cluster.put(VOICE_SESSIONS, "vs-other", {"profile": "default", "room": "other"})
    await cluster.until_seen()
    guest = Guest()
    await guest.room.connect(calling_livekit.url, token)
    await guest.until_gone()
    (message,) = guest.heard
    assert (message["type"], message["reason"], message["retryAfterSeconds"]) == ("refused", "profile-full", 15)
    assert set(cluster.sessions) == {"vs-other"}
    assert room_of(token) not in await rooms_now(calling_livekit)


async def test_a_customer_whose_voice_session_the_api_server_rejects_is_told_and_the_room_is_closed(
    called_door: FrontDoor, cluster: FakeCluster, calling_livekit: LiveKitServer
) -> None:
    token = await get_token(called_door)
    cluster.refuses = ForbiddenError(403, "exceeded quota: calls, requested: 1, used: 5, limited: 5")
    guest = Guest()
    await guest.room.connect(calling_livekit.url, token)
    await guest.until_gone()
    assert [(message["type"], message["reason"]) for message in guest.heard] == [("refused", "rejected")]
    assert not cluster.sessions
    assert room_of(token) not in await rooms_now(calling_livekit)


# When something is down


async def test_a_room_that_starts_while_the_api_server_is_away_gets_its_agent_when_it_is_back(
    called_door: FrontDoor, cluster: FakeCluster, calling_livekit: LiveKitServer
) -> None:
    token = await get_token(called_door)
    cluster.away = True
    guest = Guest()
    await guest.room.connect(calling_livekit.url, token)
    await eventually(lambda: cluster.requests["create"] >= 2)
    assert not cluster.sessions
    cluster.away = False
    await eventually(lambda: cluster.sessions, 40)
    ((_, session),) = cluster.sessions.items()
    assert session["spec"]["roomSid"] == await guest.room.sid
    await guest.room.disconnect()


async def test_livekit_is_asked_to_repeat_what_could_not_be_handled(
    quiet_door: FrontDoor, cluster: FakeCluster
) -> None:
    event = room_event("room", "RM_one", sign_ticket("room"))
    cluster.away = True
    answer = await quiet_door.webhook(event)
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) > 0
    cluster.away = False
    assert (await quiet_door.webhook(event)).status == 200
    assert len(cluster.sessions) == 1


@pytest.mark.parametrize(
    "refusal",
    [
        KubernetesError(401, "Unauthorized"),
        ForbiddenError(403, 'User "system:serviceaccount:voice:door" cannot create resource "voicesessions"'),
        NotFoundError(404, "the server could not find the requested resource"),
    ],
    ids=lambda refusal: str(refusal.status),
)
async def test_a_refusal_that_is_not_about_the_call_turns_nobody_away(
    called_door: FrontDoor, cluster: FakeCluster, refusal: KubernetesError
) -> None:
    token = await get_token(called_door)
    cluster.refuses = refusal
    guest = Guest()
    await guest.room.connect(called_door.service.settings.livekit_public_url, token)
    await eventually(lambda: cluster.requests["create"] >= 2)
    cluster.refuses = None
    await eventually(lambda: cluster.sessions, 40)
    assert guest.heard == []
    await guest.room.disconnect()


async def test_an_old_webhook_that_cannot_be_confirmed_is_asked_for_again(cluster: FakeCluster) -> None:
    async with running_front_door(cluster) as door:  # whose LiveKit is nowhere
        old = room_event("room", "RM_one", sign_ticket("room"), created_at=clock.now() - timedelta(seconds=60))
        assert (await door.webhook(old)).status == 503
        assert not cluster.sessions


# Room and VoiceSession at once


async def test_connection_details_create_the_room_and_the_voice_session_with_private_variables(
    called_door: FrontDoor, cluster: FakeCluster, calling_livekit: LiveKitServer
) -> None:
    body = {"variables": {"customer": "Ada Lovelace"}, "llm_provider": "local", "is_local_mode": True}
    answer = await called_door.call("POST", "/api/connection-details", body)
    assert answer.status == 201
    assert set(answer.body) == {"serverUrl", "roomName", "participantName", "participantToken"}
    ((name, session),) = cluster.sessions.items()
    spec = session["spec"]
    assert spec["room"] == answer.body["roomName"]
    assert spec["variables"] == {"customer": "Ada Lovelace"}
    assert (spec["llmProvider"], spec["localMode"]) == ("local", True)
    assert spec["participantIdentity"] == answer.body["participantName"]
    async with calling_livekit.client() as client:
        (room,) = (await client.room.list_rooms(api.ListRoomsRequest(names=[spec["room"]]))).rooms
    assert room.sid == spec["roomSid"]
    assert (room.empty_timeout, room.departure_timeout) == (65, 20)
    assert TICKETS.read(room.metadata, room.name).voice_session == name
    guest = Guest()
    await guest.room.connect(answer.body["serverUrl"], answer.body["participantToken"])
    assert "Lovelace" not in guest.room.metadata
    assert "Lovelace" not in json.dumps(read_token(answer.body["participantToken"]))
    await stays(lambda: list(cluster.sessions) == [name], 0.5, "the room's start, told as well, made another")
    await guest.room.disconnect()


async def test_a_leftover_token_of_a_call_that_is_over_starts_no_other(
    called_door: FrontDoor, cluster: FakeCluster, calling_livekit: LiveKitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voicesession.admission._CREATION_GRACE", timedelta(0))
    details = (await called_door.call("POST", "/api/connection-details")).body
    async with calling_livekit.client() as client:
        await client.room.delete_room(api.DeleteRoomRequest(room=details["roomName"]))
    ((name, session),) = cluster.sessions.items()
    cluster.put(VOICE_SESSIONS, name, session["spec"], {"phase": "Ended"})
    await cluster.until_seen()
    guest = Guest()
    await guest.room.connect(details["serverUrl"], details["participantToken"])
    await guest.until_gone()
    assert [message["reason"] for message in guest.heard] == ["call-gone"]
    assert list(cluster.sessions) == [name]


async def test_the_same_key_opens_no_second_room(called_door: FrontDoor, cluster: FakeCluster) -> None:
    async def ask() -> Any:
        return await called_door.call("POST", "/api/connection-details", {}, headers={"Idempotency-Key": RANDOM_KEY})

    answers = [await ask(), *(await asyncio.gather(*(ask() for _ in range(5))))]
    assert {answer.status for answer in answers} == {201}
    assert len({answer.body["roomName"] for answer in answers}) == 1
    assert len({answer.body["participantName"] for answer in answers}) == 1
    ((name, session),) = cluster.sessions.items()
    cluster.put(VOICE_SESSIONS, name, session["spec"], {"phase": "Ended"})
    await cluster.until_seen()
    over = await ask()
    assert (over.status, over.body["type"]) == (409, "urn:problem-type:call-over")


async def test_at_the_same_time_the_same_key_opens_one_room(
    called_door: FrontDoor, cluster: FakeCluster, calling_livekit: LiveKitServer
) -> None:
    headers = {"Idempotency-Key": RANDOM_KEY[::-1]}
    answers = await asyncio.gather(
        *(called_door.call("POST", "/api/connection-details", {}, headers=headers) for _ in range(8))
    )
    assert {answer.status for answer in answers} == {201}
    ((_, session),) = cluster.sessions.items()
    assert session["spec"]["room"] in await rooms_now(calling_livekit)


async def test_a_call_whose_creation_took_effect_without_an_answer_is_given_to_its_caller(
    called_door: FrontDoor, cluster: FakeCluster, calling_livekit: LiveKitServer
) -> None:
    cluster.loses_answers = True
    answer = await called_door.call("POST", "/api/connection-details")
    assert answer.status == 201
    ((_, session),) = cluster.sessions.items()
    assert session["spec"]["room"] == answer.body["roomName"]
    assert answer.body["roomName"] in await rooms_now(calling_livekit)


@pytest.mark.parametrize("refusal", [None, ForbiddenError(403, "exceeded quota")])
async def test_a_room_whose_voice_session_is_not_known_is_left_to_the_poll(
    called_door: FrontDoor, cluster: FakeCluster, calling_livekit: LiveKitServer, refusal: KubernetesError | None
) -> None:
    """It may be a call's whose creation takes effect later, or another request's with the same key."""
    cluster.away, cluster.refuses = refusal is None, refusal
    answer = await called_door.call("POST", "/api/connection-details")
    assert (answer.status, answer.body["retryAfterSeconds"] > 0) == (503, True)
    assert not cluster.sessions
    async with calling_livekit.client() as client:
        (room,) = (await client.room.list_rooms(api.ListRoomsRequest())).rooms
    start, later = read_room(room), clock.now() + timedelta(seconds=31)
    decision = decide_admission(start, later, called_door.service.grounds)
    assert isinstance(decision, Refuse)
    assert decision.reason == "call-gone"


async def test_nothing_is_created_when_livekit_is_away(cluster: FakeCluster) -> None:
    async with running_front_door(cluster) as door:  # whose LiveKit is nowhere
        answer = await door.call("POST", "/api/connection-details")
        assert (answer.status, answer.body["retryAfterSeconds"] > 0) == (503, True)
        assert not cluster.sessions


async def test_a_caller_s_room_that_is_in_use_is_not_taken_over(cluster: FakeCluster, livekit: LiveKitServer) -> None:
    async with running_front_door(cluster, livekit_url=livekit.url, allow_caller_rooms=True) as door:
        body = {"room_name": new_room()}
        first = await door.call("POST", "/api/connection-details", body)
        assert first.body["roomName"] == f"anyone:{body['room_name']}"
        second = await door.call("POST", "/api/connection-details", body)
        assert (second.status, second.body["type"]) == (409, "urn:problem-type:room-in-use")
        assert len(cluster.sessions) == 1
        assert first.body["roomName"] in await rooms_now(livekit)


async def test_a_voice_session_carries_the_labels_that_admission_counts_by(
    quiet_door: FrontDoor, cluster: FakeCluster
) -> None:
    token = await get_token(quiet_door)
    await quiet_door.webhook(room_event(room_of(token), "RM_one", ticket_of(token)))
    ((_, session),) = cluster.sessions.items()
    assert session["metadata"]["labels"] == {
        "voiceagents.dev/profile": "default",
        CALL_LABEL: TICKETS.read(ticket_of(token), room_of(token)).call_id,
        "voiceagents.dev/room-hash": short_hash(room_of(token)),
    }
