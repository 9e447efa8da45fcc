"""The front door before a real API server, with the rights that the chart gives it, and a real LiveKit."""

import asyncio
import contextlib
import json
import secrets
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from livekit import api, rtc

from kube.client import KubernetesApi, KubernetesError
from local_cluster.binaries import KUBERNETES
from local_cluster.ports import free_port
from testing.chart import find, render
from testing.fake_cluster import POOL
from testing.livekit import LiveKitServer, running_livekit
from testing.proxy import Proxy, proxied_api_server
from testing.tickets import sign_ticket
from testing.token_service_app import FrontDoor, read_token, room_event, running_front_door, ticket_of
from testing.waiting import eventually, stays
from voicesession import clock
from voicesession.admission import RoomStart, decide_admission
from voicesession.models import VoiceSession
from voicesession.names import API_VERSION, VOICE_SESSIONS, voice_session_name


@dataclass
class Namespace:
    """A namespace of its own. `kubeconfig`: with the token service's rights in it; by way of `proxy`."""

    admin: Path
    name: str
    kubeconfig: Path
    proxy: Proxy

    async def kubectl(self, *arguments: str, stdin: Any = None) -> str:
        """Runs kubectl with all rights."""
        return await asyncio.to_thread(kubectl, self.admin, self.name, *arguments, stdin=stdin)

    async def put(self, kind: str, name: str, spec: Any) -> None:
        """Applies one of our objects."""
        wanted = {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}
        await self.kubectl("apply", "-f", "-", stdin=wanted)

    async def finish_calls(self) -> None:
        """Has every call end, as the operator would."""
        for name in await self.sessions():
            ended = json.dumps({"status": {"phase": "Ended"}})
            await self.kubectl("patch", VOICE_SESSIONS, name, "--subresource=status", "--type=merge", "-p", ended)

    async def sessions(self) -> dict[str, VoiceSession]:
        """Returns the VoiceSessions by name."""
        listed = json.loads(await self.kubectl("get", VOICE_SESSIONS, "-o", "json"))
        return {each["metadata"]["name"]: VoiceSession.model_validate(each) for each in listed["items"]}


def kubectl(kubeconfig: Path, namespace: str, *arguments: str, stdin: Any = None) -> str:
    command = [str(KUBERNETES.path("kubectl")), "--kubeconfig", str(kubeconfig), "-n", namespace, *arguments]
    text = None if stdin is None else json.dumps(stdin)
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def rights() -> list[dict[str, Any]]:
    """The rules of the chart's Role for the token service."""
    rules: list[dict[str, Any]] = find(render(), "Role", "token-service")["rules"]
    return rules


@pytest.fixture
async def namespace(api_server: Path, rights: list[dict[str, Any]], tmp_path: Path) -> AsyncIterator[Namespace]:
    async with proxied_api_server(api_server, tmp_path) as (proxy, kubeconfig):
        made = Namespace(api_server, f"door-{secrets.token_hex(4)}", kubeconfig, proxy)
        await made.kubectl("create", "namespace", made.name)
        await made.kubectl("create", "serviceaccount", "door")
        role = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "door"}}
        await made.kubectl("apply", "-f", "-", stdin={**role, "kind": "Role", "rules": rights})
        await made.kubectl("create", "rolebinding", "door", "--role=door", f"--serviceaccount={made.name}:door")
        token = (await made.kubectl("create", "token", "door")).strip()
        config = yaml.safe_load(kubeconfig.read_text())
        config["users"][0]["user"] = {"token": token}
        kubeconfig.write_text(yaml.safe_dump(config))
        await made.put("AgentPool", "default", POOL)
        await made.put("AgentProfile", "default", {"pool": "default"})
        yield made
        await made.kubectl("delete", "namespace", made.name, "--wait=false")


@contextlib.asynccontextmanager
async def open_door(
    namespace: Namespace, livekit: LiveKitServer, port: int = 0, **settings: Any
) -> AsyncIterator[FrontDoor]:
    cluster = await KubernetesApi.connect(namespace.name, namespace.kubeconfig)
    async with running_front_door(
        cluster, port=port, livekit_url=livekit.url, livekit_public_url=livekit.url, **settings
    ) as door:
        yield door
    await cluster.close()


@pytest.fixture
async def real_door(namespace: Namespace) -> AsyncIterator[FrontDoor]:
    """A front door with a LiveKit that sends its webhooks there."""
    port = free_port()
    with running_livekit(f"http://127.0.0.1:{port}/livekit/webhook") as livekit:
        async with open_door(namespace, livekit, port) as running:
            yield running


async def until_sessions(namespace: Namespace, count: int, seconds: float = 20) -> dict[str, VoiceSession]:
    async def enough() -> dict[str, VoiceSession] | None:
        found = await namespace.sessions()
        return found if len(found) >= count else None

    return await eventually(enough, seconds)


async def test_a_customer_s_room_becomes_one_voice_session_that_its_token_can_see_and_end(
    real_door: FrontDoor, namespace: Namespace
) -> None:
    token = (await real_door.call("POST", "/api/token", {"variables": {"a": "1"}})).body["participant_token"]
    assert await namespace.sessions() == {}
    room = rtc.Room()
    await room.connect(real_door.service.settings.livekit_public_url, token)
    ((name, session),) = (await until_sessions(namespace, 1)).items()
    assert name == voice_session_name(await room.sid)
    assert session.spec.room == room.name
    assert session.spec.variables == {"a": "1"}

    path = f"/api/sessions/{room.name}"
    answer = await real_door.call("GET", path, bearer=token)
    assert (answer.status, answer.body["phase"], answer.body["sessionId"]) == (200, "Pending", session.metadata.uid)
    for _ in range(2):
        assert (await real_door.call("DELETE", path, bearer=token)).status == 204
    assert (await namespace.sessions())[name].spec.end
    assert len(await namespace.sessions()) == 1
    await room.disconnect()


async def test_the_largest_request_that_is_taken_is_one_that_the_api_server_takes(
    real_door: FrontDoor, namespace: Namespace
) -> None:
    long_name = "p" * 63
    await namespace.put("AgentProfile", long_name, {"pool": "default"})
    await eventually(lambda: long_name in real_door.service.cache.profiles.by_name)
    body = {
        "profile": long_name,
        "llm_provider": "local",
        "participant_identity": "i" * 256,
        "participant_name": "n" * 256,
        "variables": {f"{number:064d}": "x" * 1024 for number in range(32)},
    }
    answer = await real_door.call("POST", "/api/connection-details", body)
    assert answer.status == 201, answer.body
    ((_, session),) = (await namespace.sessions()).items()
    assert len(session.spec.variables) == 32
    assert session.spec.profile == long_name


async def test_unused_tokens_leave_nothing(real_door: FrontDoor, namespace: Namespace) -> None:
    answers = [await real_door.call("POST", "/api/token") for _ in range(200)]
    assert {answer.status for answer in answers} == {201}
    assert await namespace.sessions() == {}
    async with api.LiveKitAPI(real_door.service.settings.livekit_url, *_keys(real_door)) as client:
        assert not (await client.room.list_rooms(api.ListRoomsRequest())).rooms


async def test_while_the_api_server_is_away_tokens_are_signed_nothing_is_half_made_and_started_rooms_are_not_lost(
    real_door: FrontDoor, namespace: Namespace
) -> None:
    await namespace.proxy.cut()
    token = (await real_door.call("POST", "/api/token")).body["participant_token"]
    refused = await real_door.call("POST", "/api/connection-details")
    assert (refused.status, refused.body["type"]) == (503, "urn:problem-type:unavailable")
    assert int(refused.headers["retry-after"]) > 0
    room = rtc.Room()
    await room.connect(real_door.service.settings.livekit_public_url, token)
    async with api.LiveKitAPI(real_door.service.settings.livekit_url, *_keys(real_door)) as client:

        async def is_there() -> bool:
            return room.name in [each.name for each in (await client.room.list_rooms(api.ListRoomsRequest())).rooms]

        await stays(is_there, 1, "a started room was closed, for want of an API server")
    await namespace.proxy.open()
    ((_, session),) = (await until_sessions(namespace, 1, 45)).items()
    assert session.spec.room_sid == await room.sid
    await room.disconnect()


async def test_what_changed_while_the_watch_was_broken_is_noticed(real_door: FrontDoor, namespace: Namespace) -> None:
    await namespace.put("AgentProfile", "going", {"pool": "default"})
    await eventually(lambda: "going" in real_door.service.cache.profiles.by_name)
    await namespace.proxy.cut()
    await namespace.kubectl("delete", "agentprofile", "going")
    await namespace.put("AgentProfile", "coming", {"pool": "default"})
    await namespace.proxy.open()
    await eventually(lambda: set(real_door.service.cache.profiles.by_name) == {"default", "coming"}, 60)


async def test_two_replicas_and_the_operator_s_poll_make_one_voice_session(
    real_door: FrontDoor, namespace: Namespace
) -> None:
    metadata = sign_ticket("room")
    event = room_event("room", "RM_one", metadata)
    livekit = LiveKitServer(urlsplit(real_door.service.settings.livekit_url).port or 0)
    async with open_door(namespace, livekit) as other:
        answers = await asyncio.gather(*(each.webhook(event) for each in (real_door, other) * 10))
        assert {answer.status for answer in answers} == {200}
        # The poll decides by the same function, from a cache that is as fresh.
        await eventually(lambda: other.service.cache.sessions.by_name)
        room = RoomStart("room", "RM_one", clock.now(), metadata)
        decision = decide_admission(room, clock.now(), other.service.grounds)
        assert type(decision).__name__ == "AlreadyServed"
    assert list(await namespace.sessions()) == [voice_session_name("RM_one")]


async def test_a_call_made_by_one_replica_is_seen_by_all(real_door: FrontDoor, namespace: Namespace) -> None:
    livekit = LiveKitServer(urlsplit(real_door.service.settings.livekit_url).port or 0)
    async with open_door(namespace, livekit) as other:
        details = (await real_door.call("POST", "/api/connection-details")).body
        path, token = f"/api/sessions/{details['roomName']}", details["participantToken"]
        assert (await other.call("GET", path, bearer=token)).status == 200
        assert (await other.call("DELETE", path, bearer=token)).status == 204
    ((_, session),) = (await namespace.sessions()).items()
    assert session.spec.end


async def test_replays_beyond_the_limits_start_nothing(real_door: FrontDoor, namespace: Namespace) -> None:
    token = (await real_door.call("POST", "/api/token")).body["participant_token"]
    room, metadata = read_token(token)["video"]["room"], ticket_of(token)
    for number in range(5):
        assert (await real_door.webhook(room_event(room, f"RM_{number}", metadata))).status == 200
        await namespace.finish_calls()
        sessions = real_door.service.cache.sessions
        await eventually(lambda: not sessions.count("live-room", room))  # noqa: B023 - awaited here
    assert len(await namespace.sessions()) == 3
    late = room_event("aged", "RM_aged", sign_ticket("aged", issued_at=clock.now() - timedelta(minutes=5)))
    assert (await real_door.webhook(late)).status == 200
    stale = room_event("gone", "RM_gone", sign_ticket("gone"), created_at=clock.now() - timedelta(minutes=1))
    assert (await real_door.webhook(stale)).status == 200
    assert (await real_door.webhook(room_event(room, "RM_9", metadata), secret="x" * 32)).status == 401
    assert len(await namespace.sessions()) == 3


async def test_its_rights_are_enough_and_no_more(real_door: FrontDoor, namespace: Namespace) -> None:
    cluster = await KubernetesApi.connect(namespace.name, namespace.kubeconfig)
    elsewhere = await KubernetesApi.connect("default", namespace.kubeconfig)
    try:
        assert await cluster.list_objects(VOICE_SESSIONS)
        with pytest.raises(KubernetesError, match="forbidden"):
            await elsewhere.list_objects(VOICE_SESSIONS)
    finally:
        await cluster.close()
        await elsewhere.close()
    assert real_door.service.cache.synced


def _keys(door: FrontDoor) -> tuple[str, str]:
    settings = door.service.settings
    return settings.livekit_api_key, settings.livekit_api_secret.get_secret_value()
