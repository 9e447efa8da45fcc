"""What the front door promises its callers, against the real application on loopback."""

import asyncio
import contextlib
import hashlib
import json
import logging
import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import jwt
import pytest

from conversations.pool import ConversationsUnavailableError
from conversations.reader import TranscriptItem
from rooms.tokens import RoomTokens
from testing.fake_cluster import FakeCluster
from testing.livekit import KEY, SECRET
from testing.tickets import TICKETS
from testing.token_service_app import (
    PUBLIC_URL,
    FrontDoor,
    check_problem,
    read_token,
    resign,
    room_event,
    room_of,
    running_front_door,
    sign_webhook,
    ticket_of,
)
from testing.waiting import eventually
from testing.written_log import WrittenLog, written_log
from voicesession import clock
from voicesession.names import AGENT_PROFILES, END_REASON_ANNOTATION, VOICE_SESSIONS

RANDOM_KEY = "L3wPTn86xVucPi2PbxybEA"


@pytest.fixture
async def door(cluster: FakeCluster) -> AsyncIterator[FrontDoor]:
    async with running_front_door(cluster) as running:
        yield running


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A file with the keys `acme-key` and `beta-key`."""
    path = tmp_path / "api-keys"
    lines = [f"{name}:{hashlib.sha256(f'{name}-key'.encode()).hexdigest()}" for name in ("acme", "beta")]
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def log() -> Iterator[WrittenLog]:
    """What the service logs."""
    with written_log("token_service") as written:
        yield written


@pytest.fixture
async def keyed_door(cluster: FakeCluster, keys: Path) -> AsyncIterator[FrontDoor]:
    async with running_front_door(cluster, auth_mode="api-key", api_keys_file=keys, allow_caller_rooms=True) as running:
        yield running


# The token


async def test_the_standard_endpoint_answers_201_with_a_token_for_one_unguessable_room(door: FrontDoor) -> None:
    answer = await door.call("POST", "/api/token", {})
    assert answer.status == 201
    assert set(answer.body) == {"server_url", "participant_token"}
    assert answer.body["server_url"] == PUBLIC_URL
    assert answer.headers["cache-control"] == "no-store"
    claims = read_token(answer.body["participant_token"])
    video = claims["video"]
    assert re.fullmatch(r"voice_assistant_room_[A-Za-z0-9_-]{22}", video["room"])
    assert re.fullmatch(r"voice_assistant_user_[A-Za-z0-9_-]{22}", claims["sub"])
    assert claims["exp"] - claims["nbf"] == 60
    assert video == {
        "roomJoin": True,
        "room": video["room"],
        "canPublish": True,
        "canPublishSources": ["microphone"],
        "canSubscribe": True,
        "canPublishData": True,
    }


async def test_a_token_carries_the_ticket_and_the_room_s_time_outs_but_no_agents(
    door: FrontDoor, cluster: FakeCluster
) -> None:
    limits = {"joinTimeoutSeconds": 40, "reconnectGraceSeconds": 20}
    cluster.put(AGENT_PROFILES, "shop", {"pool": "default", "limits": limits})
    await cluster.until_seen()
    dispatch = {"agent_name": "shop", "metadata": '{"llm_provider": "local", "customer": "Ada"}'}
    body = {"room_config": {"agents": [dispatch], "max_participants": 3}, "participant_name": "Ada"}
    token = (await door.call("POST", "/api/token", body)).body["participant_token"]
    claims = read_token(token)
    config = claims["roomConfig"]
    assert set(config) == {"metadata", "emptyTimeout", "departureTimeout", "maxParticipants"}
    assert (config["emptyTimeout"], config["departureTimeout"], config["maxParticipants"]) == (45, 25, 3)
    ticket = TICKETS.read(config["metadata"], claims["video"]["room"])
    assert (ticket.profile, ticket.llm_provider, ticket.variables) == ("shop", "local", {"customer": "Ada"})
    assert ticket.participant_identity == claims["sub"]
    assert abs(clock.now() - ticket.issued_at) < timedelta(seconds=10)


async def test_participants_get_the_name_metadata_and_attributes_they_asked_for(door: FrontDoor) -> None:
    body = {
        "participant_identity": "ada",
        "participant_name": "Ada",
        "participant_metadata": "anything",
        "participant_attributes": {"colour": "green"},
    }
    claims = read_token((await door.call("POST", "/api/token", body)).body["participant_token"])
    assert (claims["sub"], claims["name"], claims["metadata"]) == ("ada", "Ada", "anything")
    assert claims["attributes"] == {"colour": "green"}


async def test_a_token_costs_no_request_to_kubernetes_and_no_voice_session(
    door: FrontDoor, cluster: FakeCluster
) -> None:
    before = dict(cluster.requests)
    for _ in range(50):
        assert (await door.call("POST", "/api/token")).status == 201
    assert dict(cluster.requests) == before
    assert not cluster.sessions


async def test_an_empty_body_is_as_good_as_an_empty_object(door: FrontDoor) -> None:
    for body in (b"", b"{}", b"null"):
        headers = {"Content-Type": "application/json"}
        assert (await door.call("POST", "/api/token", data=body, headers=headers)).status == 201


async def test_a_token_too_long_for_a_url_is_refused(door: FrontDoor) -> None:
    variables = {str(n): "x" * 1000 for n in range(10)}
    check_problem(await door.call("POST", "/api/token", {"variables": variables}), 422, "token-too-long")


async def test_tokens_are_signed_while_the_api_server_and_livekit_are_away(
    door: FrontDoor, cluster: FakeCluster
) -> None:
    cluster.away = True
    cluster.break_watches()
    await cluster.until_seen()
    assert (await door.call("POST", "/api/token")).status == 201


async def test_before_the_cluster_is_known_callers_are_asked_to_wait(cluster: FakeCluster) -> None:
    cluster.away = True
    async with running_front_door(cluster, wait=False) as door:
        for path in ("/api/token", "/api/connection-details"):
            check_problem(await door.call("POST", path), 503, "unavailable")


async def test_a_full_profile_says_when_to_try_again(door: FrontDoor, cluster: FakeCluster) -> None:
    cluster.put(AGENT_PROFILES, "default", {"pool": "default", "maxSessions": 1})
    cluster.put(VOICE_SESSIONS, "vs-1", {"profile": "default", "room": "other"})
    await cluster.until_seen()
    for path in ("/api/token", "/api/connection-details"):
        answer = await door.call("POST", path)
        check_problem(answer, 429, "profile-full")
        assert int(answer.headers["retry-after"]) > 0
    cluster.put(VOICE_SESSIONS, "vs-1", {"profile": "default", "room": "other"}, {"phase": "Ended"})
    await cluster.until_seen()
    assert (await door.call("POST", "/api/token")).status == 201


# Who may ask


async def test_with_keys_nobody_else_gets_anything(keyed_door: FrontDoor) -> None:
    for method, path in (
        ("POST", "/api/token"),
        ("POST", "/api/connection-details"),
        ("GET", "/api/profiles"),
        ("GET", "/api/sessions/room"),
        ("GET", "/api/sessions/room/transcript"),
        ("DELETE", "/api/sessions/room"),
    ):
        for bearer in (None, "wrong"):
            answer = await keyed_door.call(method, path, bearer=bearer)
            check_problem(answer, 401, "unauthorized")
            assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_stranger_does_not_learn_which_fields_there_are(keyed_door: FrontDoor) -> None:
    for path in ("/api/token", "/api/connection-details"):
        check_problem(await keyed_door.call("POST", path, {"profile": 7}, "acme-key"), 422, "invalid-request")
        check_problem(await keyed_door.call("POST", path, {"profile": 7}, "wrong"), 401, "unauthorized")


async def test_the_key_s_name_is_the_tenant(keyed_door: FrontDoor) -> None:
    answer = await keyed_door.call("POST", "/api/token", {"room_name": "lobby"}, "acme-key")
    token = answer.body["participant_token"]
    assert TICKETS.read(ticket_of(token), room_of(token)).tenant == "acme"
    assert read_token(token)["video"]["room"] == "acme:lobby"


async def test_the_same_idempotency_key_gives_the_same_room_to_its_tenant_only(keyed_door: FrontDoor) -> None:
    async def names(bearer: str, key: str) -> tuple[str, str, str]:
        answer = await keyed_door.call("POST", "/api/token", {}, bearer, headers={"Idempotency-Key": key})
        claims = read_token(answer.body["participant_token"])
        room = claims["video"]["room"]
        return room, claims["sub"], TICKETS.read(claims["roomConfig"]["metadata"], room).call_id

    first = await names("acme-key", "order-1")
    assert first == await names("acme-key", "order-1")
    for other in (await names("acme-key", "order-2"), await names("beta-key", "order-1")):
        assert not set(first) & set(other)


async def test_without_keys_a_guessable_idempotency_key_is_refused(door: FrontDoor) -> None:
    answer = await door.call("POST", "/api/token", {}, headers={"Idempotency-Key": "order-1"})
    check_problem(answer, 422, "idempotency-key")
    assert (await door.call("POST", "/api/token", {}, headers={"Idempotency-Key": RANDOM_KEY})).status == 201


async def test_service_without_keys_says_so_loudly(cluster: FakeCluster, caplog: pytest.LogCaptureFixture) -> None:
    async with running_front_door(cluster):
        assert "ANYBODY" in caplog.text


async def test_a_full_tenant_is_told_and_leaves_places_to_others(cluster: FakeCluster, keys: Path) -> None:
    cluster.put(VOICE_SESSIONS, "vs-1", {"profile": "default", "room": "other", "tenant": "acme"})
    async with running_front_door(cluster, auth_mode="api-key", api_keys_file=keys, tenant_max_sessions=1) as door:
        check_problem(await door.call("POST", "/api/token", {}, "acme-key"), 429, "tenant-full")
        tokens = [(await door.call("POST", "/api/token", {}, "beta-key")).body["participant_token"] for _ in range(2)]
        # The second start of the same tenant, by a token from before it was full: not admitted.
        for number, token in enumerate(tokens):
            await door.webhook(room_event(room_of(token), f"RM_{number}", ticket_of(token)))
    assert [each["spec"].get("tenant") for each in cluster.sessions.values()] == ["acme", "beta"]


# One error form


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (b"{", 400, "malformed"),
        (b"\xff\xfe", 400, "malformed"),
        (b"[" * 100_000, 400, "malformed"),
        (b"[]", 422, "invalid-request"),
        (b'"text"', 422, "invalid-request"),
        (b'{"unknown": 1}', 422, "invalid-request"),
        (b'{"participant_name": "\\ud800"}', 422, "invalid-request"),
        (b'{"room_name": "lobby"}', 403, "not-configurable"),
        (b'{"profile": "nobody"}', 422, "unknown-profile"),
        (b'{"llm_provider": "mars"}', 422, "unknown-provider"),
        (b'{"room_config": {"agents": [{"metadata": "' + b"x" * 300_000 + b'"}]}}', 413, "body-too-large"),
    ],
)
async def test_every_refusal_has_the_one_form(
    door: FrontDoor, cluster: FakeCluster, body: bytes, status: int, kind: str
) -> None:
    for path in ("/api/token", "/api/connection-details"):
        answer = await door.call("POST", path, data=body, headers={"Content-Type": "application/json"})
        problem = check_problem(answer, status, kind)
        assert problem["instance"] == path
        assert answer.headers["cache-control"] == "no-store"
    assert not cluster.sessions


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded"])
async def test_a_body_that_is_not_said_to_be_json(door: FrontDoor, content_type: str) -> None:
    headers = {"Content-Type": content_type}
    check_problem(
        await door.call("POST", "/api/token", data=b'{"profile": "default"}', headers=headers), 415, "not-json"
    )
    assert (await door.call("POST", "/api/token", data=b"", headers=headers)).status == 201
    for json_type in ("application/json; charset=utf-8", "application/problem+json"):
        answer = await door.call("POST", "/api/token", data=b"{}", headers={"Content-Type": json_type})
        assert answer.status == 201


async def test_a_validation_error_names_the_field_and_not_what_was_in_it(door: FrontDoor) -> None:
    answer = await door.call("POST", "/api/token", {"variables": {"password": ["hunter2"]}})
    problem = check_problem(answer, 422, "invalid-request")
    assert problem["errors"][0]["pointer"] == "/body/variables/password"
    assert "hunter2" not in json.dumps(problem)


async def test_paths_and_methods_that_do_not_exist(door: FrontDoor) -> None:
    check_problem(await door.call("GET", "/nothing"), 404, "not-found")
    answer = await door.call("GET", "/api/token")
    check_problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "POST"


async def test_a_body_in_pieces_is_limited_too(door: FrontDoor) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b" " * 50_000

    answer = await door.call("POST", "/api/token", data=pieces(), headers={"Content-Type": "application/json"})
    check_problem(answer, 413, "body-too-large")


async def test_our_own_mistakes_tell_nothing(door: FrontDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the secret is hunter2")

    monkeypatch.setattr(RoomTokens, "sign_customer", fail)
    answer = await door.call("POST", "/api/token")
    problem = check_problem(answer, 500, "internal")
    assert "hunter2" not in json.dumps(problem)


async def test_a_body_that_breaks_off_asks_for_nothing(
    door: FrontDoor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(door.service.rooms, "create", asked.append)
    address = urlsplit(door.url)
    _, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(
        b"POST /api/connection-details HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b'Content-Length: 100\r\n\r\n{"profile": "ba'
    )
    await writer.drain()
    with caplog.at_level(logging.INFO, "token_service"):
        writer.close()
        await eventually(lambda: 0 in [vars(each).get("status") for each in caplog.records])
    assert not asked


async def test_a_request_id_is_taken_over_or_made_and_is_in_the_log(door: FrontDoor, log: WrittenLog) -> None:
    answer = await door.call("POST", "/api/token", headers={"X-Request-Id": "abc-1.2"})
    assert answer.headers["x-request-id"] == "abc-1.2"
    (line,) = log.lines
    assert (line["requestId"], line["message"]) == ("abc-1.2", "request answered")
    assert (line["method"], line["route"], line["status"]) == ("POST", "/api/token", 201)
    bad = await door.call("POST", "/api/token", headers={"X-Request-Id": "a b<script>"})
    assert re.fullmatch(r"[0-9a-f]{16}", bad.headers["x-request-id"])
    assert (await door.call("POST", "/api/token")).headers["x-request-id"] != bad.headers["x-request-id"]


async def test_the_log_knows_the_room_and_neither_tokens_nor_keys_nor_what_was_asked(
    keyed_door: FrontDoor, log: WrittenLog
) -> None:
    body = {"participant_name": "Ada Lovelace", "variables": {"account": "of Grace Hopper"}}
    token = (await keyed_door.call("POST", "/api/token", body, "acme-key")).body["participant_token"]
    room = read_token(token)["video"]["room"]
    await keyed_door.call("GET", f"/api/sessions/{room}", bearer=token)
    await keyed_door.call("POST", "/api/token", {"variables": {"account": ["of Grace Hopper"]}}, "acme-key")
    await keyed_door.call("POST", "/api/token", {}, "wrong-key")
    assert len([line for line in log.lines if line["requestId"]]) == 4
    assert (log.lines[0]["tenant"], log.lines[0]["room"]) == ("acme", room)
    for secret in (token, SECRET, "acme-key", "wrong-key", "Lovelace", "Hopper"):
        assert secret not in log.text


async def test_only_listed_origins_may_call_from_a_page(cluster: FakeCluster) -> None:
    async with running_front_door(cluster, cors_allowed_origins="https://shop.example, https://b.example/") as door:

        async def allowed(origin: str) -> str | None:
            headers = {
                "Origin": origin,
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "authorization,content-type,idempotency-key,x-request-id",
            }
            answer = await door.call("OPTIONS", "/api/token", headers=headers)
            assert answer.status == (200 if "access-control-allow-origin" in answer.headers else 400)
            posted = await door.call("POST", "/api/token", headers={"Origin": origin})
            assert answer.headers.get("access-control-allow-origin") == posted.headers.get(
                "access-control-allow-origin"
            )
            return posted.headers.get("access-control-allow-origin")

        assert await allowed("https://shop.example") == "https://shop.example"
        assert await allowed("https://b.example") == "https://b.example"
        assert await allowed("https://evil.example") is None
        refused = await door.call("POST", "/api/token", {"profile": "no"}, headers={"Origin": "https://b.example"})
        assert refused.headers["access-control-allow-origin"] == "https://b.example"
        assert "Retry-After" in refused.headers["access-control-expose-headers"]


async def test_a_listed_app_may_send_whatever_headers_it_likes(cluster: FakeCluster) -> None:
    app = "capacitor://localhost"
    wanted = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "traceparent,x-sandbox-id"}
    async with running_front_door(cluster, cors_allowed_origins=app) as door:
        answer = await door.call("OPTIONS", "/api/token", headers={"Origin": app, **wanted})
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, app)
        assert answer.headers["access-control-allow-headers"] == "traceparent,x-sandbox-id"
        refused = await door.call("OPTIONS", "/api/token", headers={"Origin": "https://evil.example", **wanted})
        assert "access-control-allow-origin" not in refused.headers


async def test_pages_of_listed_origins_can_read_of_our_mistakes(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError

    async with running_front_door(cluster, cors_allowed_origins="https://shop.example") as door:
        monkeypatch.setattr(RoomTokens, "sign_customer", fail)
        answer = await door.call("POST", "/api/token", headers={"Origin": "https://shop.example"})
        check_problem(answer, 500, "internal")
        assert answer.headers["access-control-allow-origin"] == "https://shop.example"


async def test_without_a_list_no_other_origin_may_call(door: FrontDoor) -> None:
    headers = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    for method in ("OPTIONS", "POST"):
        answer = await door.call(method, "/api/token", headers=headers)
        assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_the_openapi_page_and_the_choices(door: FrontDoor, cluster: FakeCluster) -> None:
    cluster.put(AGENT_PROFILES, "hidden", {"public": False})
    cluster.put(AGENT_PROFILES, "shop", {"pool": "default", "displayName": "Our shop"})
    cluster.put(AGENT_PROFILES, "bare", {"pool": "none"})
    await cluster.until_seen()
    assert "swagger" in (await door.call("GET", "/docs")).body
    described = (await door.call("GET", "/openapi.json")).body
    assert described["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    paths = described["paths"]
    assert {"bearer": []} in paths["/api/token"]["post"]["security"]
    assert {"bearer": []} in paths["/api/sessions/{room}"]["delete"]["security"]
    assert paths["/livekit/webhook"]["post"]["security"] == []
    answer = await door.call("GET", "/api/profiles")
    assert answer.body == {
        "profiles": [
            {"name": "default", "displayName": "default", "providers": ["local", "openai"], "localMode": True},
            {"name": "shop", "displayName": "Our shop", "providers": ["local", "openai"], "localMode": False},
        ]
    }


async def test_an_address_with_a_slash_at_its_end_is_the_same(cluster: FakeCluster, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("the page")
    async with running_front_door(cluster, web_root=tmp_path) as door:
        assert (await door.call("POST", "/api/token/")).status == 201
        check_problem(await door.call("POST", "/livekit/webhook/"), 401, "unauthorized")
        check_problem(await door.call("GET", "/api/"), 404, "not-found")
        assert (await door.call("GET", "/")).body == "the page"


async def test_the_page_is_served_beside_the_api(cluster: FakeCluster, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<h1>talk</h1>")
    (tmp_path / "page.js").write_text("1")
    async with running_front_door(cluster, web_root=tmp_path) as door:
        page = await door.call("GET", "/")
        assert page.body == "<h1>talk</h1>"
        assert "connect-src 'self' wss://livekit.example.com" in page.headers["content-security-policy"]
        assert (await door.call("GET", "/page.js")).body == "1"
        check_problem(await door.call("GET", "/../../etc/passwd"), 404, "not-found")
        assert (await door.call("POST", "/api/token")).status == 201


# Calls by those they belong to


class Transcripts:
    """Transcripts by VoiceSession uid."""

    def __init__(self) -> None:
        self.items: dict[str, list[TranscriptItem]] = {}
        self.away = False

    async def read_transcript(self, session_id: str) -> list[TranscriptItem]:
        if self.away:
            raise ConversationsUnavailableError("down, at postgres://secret")
        return self.items.get(session_id, [])


@pytest.fixture
def transcripts() -> Transcripts:
    return Transcripts()


@pytest.fixture
async def call_door(cluster: FakeCluster, transcripts: Transcripts) -> AsyncIterator[FrontDoor]:
    async with running_front_door(cluster, transcripts) as running:
        yield running


async def start_call(door: FrontDoor, cluster: FakeCluster, **status: Any) -> tuple[str, str]:
    """Returns the token and the room of a call whose VoiceSession exists."""
    token = (await door.call("POST", "/api/token")).body["participant_token"]
    claims = read_token(token)
    room = claims["video"]["room"]
    spec = {"profile": "default", "room": room, "roomSid": "RM_1", "participantIdentity": claims["sub"]}
    cluster.put(VOICE_SESSIONS, f"vs-{room[-8:].lower()}", spec, status)
    await cluster.until_seen()
    return token, room


async def test_a_participant_sees_its_call_and_ends_it(call_door: FrontDoor, cluster: FakeCluster) -> None:
    status = {"phase": "Active", "reason": "Joined", "message": "pod default-x on node-1", "llmProvider": "local"}
    token, room = await start_call(call_door, cluster, **status)
    answer = await call_door.call("GET", f"/api/sessions/{room}", bearer=token)
    assert answer.status == 200
    assert (answer.body["room"], answer.body["phase"], answer.body["llmProvider"]) == (room, "Active", "local")
    assert "node-1" not in json.dumps(answer.body)
    for _ in range(2):
        assert (await call_door.call("DELETE", f"/api/sessions/{room}", bearer=token)).status == 204
    (session,) = cluster.sessions.values()
    assert session["spec"]["end"] is True
    assert session["metadata"]["annotations"][END_REASON_ANNOTATION] == "participant_left"
    assert cluster.requests["patch"] == 1


async def test_another_s_call_and_no_call_look_the_same(call_door: FrontDoor, cluster: FakeCluster) -> None:
    mine, _ = await start_call(call_door, cluster, phase="Active")
    _, theirs = await start_call(call_door, cluster, phase="Active")
    for path in (f"/api/sessions/{theirs}", f"/api/sessions/{theirs}/transcript", "/api/sessions/nowhere"):
        check_problem(await call_door.call("GET", path, bearer=mine), 404, "no-such-call")
    check_problem(await call_door.call("DELETE", f"/api/sessions/{theirs}", bearer=mine), 404, "no-such-call")
    assert not any(each["spec"].get("end") for each in cluster.sessions.values())


async def test_only_our_signature_the_room_s_customer_and_no_agent_counts(
    call_door: FrontDoor, cluster: FakeCluster
) -> None:
    token, room = await start_call(call_door, cluster, phase="Active")
    path = f"/api/sessions/{room}"
    for stranger in (
        "",
        "x.y.z",
        resign(token, secret="another secret of thirty-two bytes"),
        resign(token, iss="another"),
        resign(token, kind="agent"),
        resign(token, video={"room": room, "roomAdmin": True}),
        resign(token, exp="never"),
        jwt.encode({"sub": "x"}, "", "none"),
    ):
        answer = await call_door.call("GET", path, bearer=stranger)
        assert answer.status == 401, stranger
    someone_else = resign(token, sub="somebody-else-in-the-room")
    assert (await call_door.call("GET", path, bearer=someone_else)).status == 404


async def test_an_expired_token_opens_its_call_for_the_longest_call_and_an_hour(
    call_door: FrontDoor, cluster: FakeCluster
) -> None:
    cluster.put(AGENT_PROFILES, "default", {"pool": "default", "limits": {"maxDurationSeconds": 600}})
    token, room = await start_call(call_door, cluster, phase="Ended")
    for age, status in ((4100, 200), (4300, 404)):
        old = resign(token, exp=int(clock.now().timestamp()) - age)
        assert (await call_door.call("GET", f"/api/sessions/{room}", bearer=old)).status == status


async def test_a_token_that_was_not_used_has_no_call_and_a_refused_one_says_why(
    call_door: FrontDoor, cluster: FakeCluster
) -> None:
    token = (await call_door.call("POST", "/api/token")).body["participant_token"]
    room = read_token(token)["video"]["room"]
    check_problem(await call_door.call("GET", f"/api/sessions/{room}", bearer=token), 404, "no-such-call")
    cluster.put(AGENT_PROFILES, "default", {"pool": "default", "maxSessions": 0})
    await cluster.until_seen()
    answer = await call_door.call("GET", f"/api/sessions/{room}", bearer=token)
    assert (answer.status, answer.body["phase"], answer.body["reason"]) == (200, "Failed", "profile-full")
    assert answer.body["retryAfterSeconds"] > 0


async def test_a_call_that_another_replica_has_just_made_is_found_by_its_room(
    call_door: FrontDoor, cluster: FakeCluster
) -> None:
    token, room = await start_call(call_door, cluster, phase="Active")
    (name,) = cluster.sessions
    metadata = cluster.sessions[name]["metadata"]
    call_door.service.cache.sessions.remove(name, metadata["uid"])
    # One that was seen to go does not come back: this is another, which no watch has told yet.
    metadata["uid"] = "made-by-another-replica"
    metadata["labels"] = {"voiceagents.dev/room-hash": hashlib.sha256(room.encode()).hexdigest()[:16]}
    assert (await call_door.call("GET", f"/api/sessions/{room}", bearer=token)).status == 200
    cluster.away = True
    check_problem(await call_door.call("DELETE", f"/api/sessions/{room}", bearer=token), 503, "unavailable")


async def test_the_transcript_is_for_its_participant(
    call_door: FrontDoor, cluster: FakeCluster, transcripts: Transcripts
) -> None:
    token, room = await start_call(call_door, cluster, phase="Active")
    (session,) = cluster.sessions.values()
    at = datetime(2030, 1, 1, tzinfo=UTC)
    item = TranscriptItem(
        item_id="i", position=1, attempt=1, kind="message", role="user", content="hello", created_at=at
    )
    note = TranscriptItem(
        item_id="n", position=2, attempt=1, kind="message", role="system", content="a secret", created_at=at
    )
    transcripts.items[session["metadata"]["uid"]] = [item, note]
    answer = await call_door.call("GET", f"/api/sessions/{room}/transcript", bearer=token)
    assert answer.body == {
        "items": [
            {
                "kind": "message",
                "role": "user",
                "content": "hello",
                "interrupted": False,
                "createdAt": "2030-01-01T00:00:00Z",
            }
        ]
    }
    transcripts.away = True
    answer = await call_door.call("GET", f"/api/sessions/{room}/transcript", bearer=token)
    check_problem(answer, 503, "unavailable")
    assert "secret" not in json.dumps(answer.body)


async def test_without_a_database_there_are_no_transcripts(door: FrontDoor, cluster: FakeCluster) -> None:
    token, room = await start_call(door, cluster, phase="Active")
    check_problem(await door.call("GET", f"/api/sessions/{room}/transcript", bearer=token), 404, "no-transcripts")


async def test_a_tenant_sees_its_own_calls_in_the_operator_s_words(keyed_door: FrontDoor, cluster: FakeCluster) -> None:
    spec = {"profile": "default", "room": "acme:lobby", "tenant": "acme"}
    cluster.put(VOICE_SESSIONS, "vs-1", spec, {"phase": "Failed", "reason": "AgentCrashed", "message": "pod x died"})
    await cluster.until_seen()
    path = "/api/sessions/acme:lobby"
    answer = await keyed_door.call("GET", path, bearer="acme-key")
    assert (answer.body["message"], answer.body["phase"]) == ("pod x died", "Failed")
    for method, what in (("GET", ""), ("GET", "/transcript"), ("DELETE", "")):
        check_problem(await keyed_door.call(method, path + what, bearer="beta-key"), 404, "no-such-call")


async def test_a_tenant_ends_its_own_call(keyed_door: FrontDoor, cluster: FakeCluster) -> None:
    spec = {"profile": "default", "room": "acme:lobby", "tenant": "acme"}
    cluster.put(VOICE_SESSIONS, "vs-1", spec, {"phase": "Active"})
    await cluster.until_seen()
    for bearer, ended in (("beta-key", None), ("acme-key", True)):
        await keyed_door.call("DELETE", "/api/sessions/acme:lobby", bearer=bearer)
        assert cluster.sessions["vs-1"]["spec"].get("end") is ended
    assert cluster.sessions["vs-1"]["metadata"]["annotations"][END_REASON_ANNOTATION] == "ended_by_request"


# What runs beside it


async def test_answers_carry_the_headers_that_browsers_need(door: FrontDoor) -> None:
    answer = await door.call("GET", "/docs")
    assert "cdn.jsdelivr.net" in answer.headers["content-security-policy"]
    answer = await door.call("POST", "/api/token")
    assert "cdn" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_slow_body_is_not_waited_for(door: FrontDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("token_service.middleware._BODY_SECONDS", 0.2)

    async def never_ending() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    # The connection may be closed before the client has read why.
    with contextlib.suppress(aiohttp.ClientError):
        check_problem(await door.call("POST", "/api/token", data=never_ending()), 408, "slow-body")


async def test_a_forged_webhook_is_refused(door: FrontDoor, cluster: FakeCluster) -> None:
    body = "{}"
    for headers in (
        {},
        {"Authorization": "rubbish"},
        {"Authorization": sign_webhook(body, secret="another secret of thirty-two bytes")},
        {"Authorization": sign_webhook(body, key="another")},
        {"Authorization": sign_webhook("another body")},
        {"Authorization": sign_webhook(body, lifetime=timedelta(minutes=-5))},
        {"Authorization": jwt.encode({"iss": KEY, "exp": 9_999_999_999}, SECRET, "HS256")},
    ):
        answer = await door.call("POST", "/livekit/webhook", data=body, headers=headers)
        check_problem(answer, 401, "unauthorized")
    nonsense = {**room_event("room", "RM_1", "{}"), "createdAt": str(10**15)}
    check_problem(await door.webhook(nonsense), 401, "unauthorized")
    answer = await door.call("POST", "/livekit/webhook", data=b"\xff", headers={"Authorization": sign_webhook("x")})
    check_problem(answer, 401, "unauthorized")
    assert not cluster.sessions
