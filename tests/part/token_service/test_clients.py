"""Other people's clients connect with nothing but the address: LiveKit's own JavaScript and Python ones."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from livekit import rtc
from livekit.protocol.agent_dispatch import RoomAgentDispatch
from livekit.protocol.room import RoomConfiguration

from local_cluster.layout import REPOSITORY
from testing.fake_cluster import POOL, FakeCluster
from testing.livekit import LiveKitServer
from testing.tickets import TICKETS
from testing.token_service_app import FrontDoor, read_token, running_front_door, ticket_of
from token_service.schemas import AgentDispatch, RoomConfig, TokenRequest, TokenResponse
from voicesession.names import AGENT_POOLS, AGENT_PROFILES
from voicesession.tickets import CallTicket

SCRIPT = REPOSITORY / "testing" / "token_source.mjs"
# The request of https://docs.livekit.io/frontends/build/authentication/endpoint, as published.
PUBLISHED_REQUEST = {
    "room_name",
    "participant_name",
    "participant_identity",
    "participant_metadata",
    "participant_attributes",
    "room_config",
}
OURS = {"profile", "llm_provider", "is_local_mode", "variables"}


@pytest.fixture
async def restaurant_door(livekit: LiveKitServer) -> AsyncIterator[FrontDoor]:
    cluster = FakeCluster()
    cluster.put(AGENT_POOLS, "restaurants", POOL)
    cluster.put(AGENT_PROFILES, "restaurant", {"pool": "restaurants", "localPool": "local"})
    async with running_front_door(cluster, livekit_url=livekit.url, livekit_public_url=livekit.url) as running:
        yield running


async def fetch_by_javascript(door: FrontDoor, *requests: dict[str, Any]) -> dict[str, Any]:
    node = shutil.which("node")
    assert node, "Node.js is missing: run `make setup`"
    assert (REPOSITORY / "web" / "node_modules" / "livekit-client").is_dir(), (
        "livekit-client is missing: run `make web`"
    )
    process = await asyncio.create_subprocess_exec(
        *(node, str(SCRIPT)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    wish = json.dumps({"url": f"{door.url}/api/token", "requests": requests}).encode()
    async with asyncio.timeout(60):
        output, errors = await process.communicate(wish)
    assert process.returncode == 0, errors.decode()
    answer: dict[str, Any] = json.loads(output)
    return answer


def read_ticket(token: str) -> CallTicket:
    """Returns the ticket in a customer's token."""
    return TICKETS.read(ticket_of(token), read_token(token)["video"]["room"])


async def test_livekit_s_javascript_client_gets_a_token_by_the_address_alone(restaurant_door: FrontDoor) -> None:
    everything = {
        "participantName": "Ada",
        "participantIdentity": "ada-1",
        "participantMetadata": "anything",
        "participantAttributes": {"colour": "green"},
        "agentName": "restaurant",
        "agentMetadata": json.dumps({"llm_provider": "local", "is_local_mode": "true", "guests": "4"}),
    }
    told = await fetch_by_javascript(restaurant_door, {}, everything, {"roomName": "lobby"}, {"agentName": "nobody"})
    plain, full, named, unknown = told["answers"]
    assert plain["serverUrl"] == restaurant_door.service.settings.livekit_public_url
    assert read_ticket(plain["participantToken"]).profile == "default"
    claims = read_token(full["participantToken"])
    assert (claims["sub"], claims["name"], claims["metadata"]) == ("ada-1", "Ada", "anything")
    assert claims["attributes"] == {"colour": "green"}
    ticket = read_ticket(full["participantToken"])
    assert (ticket.profile, ticket.llm_provider, ticket.local_mode) == ("restaurant", "local", True)
    assert ticket.variables == {"guests": "4"}
    # It shows a caller the status and the body of a refusal.
    assert "403" in named["error"]
    assert "leave it out" in named["error"]
    assert "422" in unknown["error"]
    assert "GET /api/profiles" in unknown["error"]


async def test_every_published_field_is_known_here(restaurant_door: FrontDoor) -> None:
    published = (await fetch_by_javascript(restaurant_door))["fields"]
    assert set(published["TokenSourceRequest"]) == PUBLISHED_REQUEST
    assert set(TokenRequest.model_fields) == PUBLISHED_REQUEST | OURS
    assert set(TokenResponse.model_fields) == set(published["TokenSourceResponse"])
    for model, message, ours in (
        (RoomConfig, "RoomConfiguration", RoomConfiguration),
        (AgentDispatch, "RoomAgentDispatch", RoomAgentDispatch),
    ):
        fields = set(model.model_fields)
        assert fields == set(published[message])
        assert fields == {field.name for field in ours.DESCRIPTOR.fields}


async def test_livekit_s_python_client_connects_by_the_address_alone(restaurant_door: FrontDoor) -> None:
    async with aiohttp.ClientSession() as http, http.post(f"{restaurant_door.url}/api/token", json={}) as answer:
        assert answer.status == 201
        details = await answer.json()
    room = rtc.Room()
    await room.connect(details["server_url"], details["participant_token"])
    assert room.name.startswith("voice_assistant_room_")
    source = rtc.AudioSource(24_000, 1)
    track = rtc.LocalAudioTrack.create_audio_track("microphone", source)
    options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
    await room.local_participant.publish_track(track, options)
    await room.local_participant.send_text("hello", topic="lk.chat")
    await source.aclose()
    await room.disconnect()
