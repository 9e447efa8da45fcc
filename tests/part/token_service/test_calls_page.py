"""The page of calls and its API, by real HTTP over a real database: who may see what, how calls are found and told."""

import contextlib
import hashlib
import json
import os
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest

from testing.conversations import NOON, AgentsConversation, ConversationsDatabase, message, put_conversation
from testing.fake_cluster import FakeCluster
from testing.oidc_issuer import AUDIENCE, running_issuer
from testing.tickets import TICKETS
from testing.token_service_app import Answer, FrontDoor, check_problem, running_front_door
from token_service.callers import Caller
from token_service.sign_in import COOKIE, SignIns
from voicesession import clock
from voicesession.names import AGENT_PROFILES, CALL_LABEL, VOICE_SESSIONS

KEYS = {"acme-key": "acme", "acme-second": "acme", "beta-key": "beta", "sre-key": "sre"}
PATHS = (
    "/calls",
    "/calls/",
    "/calls/room",
    "/calls/sign-in",
    "/api/calls",
    "/api/calls/room",
    "/calls/assets/calls.js",
)
FILES = {"index.html": "the calls' program", "sign-in.html": "the form", "assets/calls.js": "1"}


@pytest.fixture
def web_root(tmp_path: Path) -> Path:
    """A built page beside that of calls."""
    root = tmp_path / "dist"
    (root / "calls" / "assets").mkdir(parents=True)
    (root / "index.html").write_text("the customer's page")
    for name, text in FILES.items():
        (root / "calls" / name).write_text(text)
    return root


def write_keys(path: Path, keys: dict[str, str]) -> None:
    path.write_text("".join(f"{name}:{hashlib.sha256(key.encode()).hexdigest()}\n" for key, name in keys.items()))


@contextlib.asynccontextmanager
async def serving_calls(
    cluster: FakeCluster, conversations: ConversationsDatabase, web_root: Path, **settings: Any
) -> AsyncIterator[FrontDoor]:
    """Serves a front door with the page on, and four keys of three tenants, one of which sees all."""
    write_keys(conversations.folder / "keys", KEYS)
    wanted = {
        "auth_mode": "api-key",
        "api_keys_file": conversations.folder / "keys",
        "calls_page": True,
        "calls_page_all_tenants": "sre, ops",
        "calls_database_url": conversations.url("voice_viewer"),
        "web_root": web_root,
        **settings,
    }
    async with running_front_door(cluster, **wanted) as door:
        yield door


@pytest.fixture
async def calls_door(
    cluster: FakeCluster, conversations: ConversationsDatabase, web_root: Path
) -> AsyncIterator[FrontDoor]:
    async with serving_calls(cluster, conversations, web_root) as running:
        yield running


async def show(door: FrontDoor, path: str, cookie: str | None = None, **more: Any) -> Answer:
    """Asks as a browser does, which follows nowhere."""
    headers = {"Cookie": f"{COOKIE}={cookie}"} if cookie else {}
    return await door.call("GET", path, headers=headers, allow_redirects=False, **more)


async def sign_in(door: FrontDoor, key: str, **more: Any) -> Answer:
    data = {"key": key, **more.pop("fields", {})}
    return await door.call("POST", "/calls/sign-in", data=data, allow_redirects=False, **more)


def cookie_of(answer: Answer) -> str:
    assert answer.status == 303, answer.body
    return answer.headers["set-cookie"].partition("=")[2].partition(";")[0]


async def list_ids(door: FrontDoor, query: str = "", key: str = "acme-key") -> list[str]:
    answer = await door.call("GET", f"/api/calls{query}", bearer=key)
    assert answer.status == 200, answer.body
    return [each["sessionId"] for each in answer.body["items"]]


# Who may look


async def test_where_the_page_is_off_there_is_nothing(
    cluster: FakeCluster, conversations: ConversationsDatabase, web_root: Path
) -> None:
    async with serving_calls(cluster, conversations, web_root, calls_page=False) as door:
        for path in (*PATHS, "/calls/index.html", "/calls/sign-in.html"):
            check_problem(await door.call("GET", path, bearer="sre-key"), 404, "not-found")
        assert (await sign_in(door, "acme-key")).status in {404, 405}
        assert (await door.call("GET", "/")).body == "the customer's page"
        assert not any("calls" in path for path in (await door.call("GET", "/openapi.json")).body["paths"])


async def test_a_stranger_gets_the_form_and_nothing_else(
    conversations: ConversationsDatabase, calls_door: FrontDoor
) -> None:
    put_conversation(conversations)
    ours = SignIns(TICKETS.key)
    hour = timedelta(hours=1)
    acme = hashlib.sha256(b"acme-key").hexdigest()
    sound, _ = ours.sign(Caller("acme", acme), clock.now())
    claims = jwt.decode(sound, options={"verify_signature": False})
    strangers = {
        "no cookie": None,
        "expired": ours.sign(Caller("acme", acme), clock.now() - 9 * hour)[0],
        "forged": jwt.encode(claims, "another key of at least 32 bytes...", "HS256"),
        "signed by the installation's key itself": jwt.encode(claims, TICKETS.key, "HS256"),
        "unsigned": jwt.encode(claims, "", "none"),
        "another's name": ours.sign(Caller("beta", acme), clock.now())[0],
        "a key that is not known": ours.sign(Caller("acme", acme[::-1]), clock.now())[0],
        "without a key": ours.sign(Caller("acme"), clock.now())[0],
        "for something else": jwt.encode({**claims, "aud": "x"}, ours._key, "HS256"),
        "for ever": jwt.encode({name: claims[name] for name in ("aud", "sub", "key")}, ours._key, "HS256"),
        "garbage": "x" * 5000,
    }
    for kind, cookie in strangers.items():
        for path in ("/calls", "/calls/room", "/calls?room=room"):
            answer = await show(calls_door, path, cookie)
            assert (answer.status, answer.body) == (401, "the form"), kind
            assert answer.headers["cache-control"] == "no-store"
        for path in ("/api/calls", "/api/calls/room"):
            check_problem(await show(calls_door, path, cookie), 401, "unauthorized")
    assert (await show(calls_door, "/calls", sound)).status == 200
    # Files of it lie nowhere else, however they are asked for.
    for path in ("/calls/index.html", "/calls/sign-in.html", "/calls.html"):
        assert "program" not in (await show(calls_door, path)).body
    for path in ("//calls/index.html", "/./calls/index.html", "/x/../calls/index.html", "/%63alls/index.html"):
        answer = await show(calls_door, path)
        assert answer.status in {401, 404}, path
        assert "program" not in str(answer.body)


async def test_a_customer_s_own_token_opens_nothing(calls_door: FrontDoor) -> None:
    answer = await calls_door.call("POST", "/api/token", {}, "acme-key")
    token = answer.body["participant_token"]
    check_problem(await calls_door.call("GET", "/api/calls", bearer=token), 401, "unauthorized")
    assert (await calls_door.call("GET", "/calls", bearer=token)).body == "the form"


async def test_somebody_signs_in_looks_around_and_signs_out(
    conversations: ConversationsDatabase, calls_door: FrontDoor
) -> None:
    session_id = put_conversation(conversations)
    answer = await sign_in(calls_door, " acme-second ")
    assert answer.headers["location"] == "/calls"
    attributes = {part.strip() for part in answer.headers["set-cookie"].split(";")[1:]}
    assert {"HttpOnly", "SameSite=strict", "Path=/", "Max-Age=28800"} <= attributes
    assert "Secure" not in attributes
    cookie = cookie_of(answer)
    for path in ("/calls", "/calls/room", "/calls/sign-in-desk", "/calls/another"):
        page = await show(calls_door, path, cookie)
        assert (page.status, page.body) == (200, "the calls' program")
        assert page.headers["cache-control"] == "no-store"
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
        assert "connect-src" not in page.headers["content-security-policy"]
    listed = await show(calls_door, "/api/calls", cookie)
    assert [each["sessionId"] for each in listed.body["items"]] == [session_id]
    assert (listed.body["tenant"], listed.body["seesAll"]) == ("acme", False)
    out = await calls_door.call("POST", "/calls/sign-out", allow_redirects=False)
    assert (out.status, out.headers["location"]) == (303, "/calls/sign-in#out")
    assert f'{COOKIE}=""' in out.headers["set-cookie"]
    assert "Max-Age=0" in out.headers["set-cookie"]
    assert (await show(calls_door, "/calls/sign-in")).body == "the form"
    assert (await show(calls_door, "/calls/assets/calls.js")).body == "1"


async def test_the_cookie_is_for_https_where_a_trusted_proxy_says_so(
    cluster: FakeCluster, conversations: ConversationsDatabase, web_root: Path
) -> None:
    said = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.1"}
    async with serving_calls(cluster, conversations, web_root, trusted_proxies="127.0.0.0/8") as door:
        assert "; Secure" in (await sign_in(door, "acme-key", headers=said)).headers["set-cookie"]
        assert "; Secure" not in (await sign_in(door, "acme-key")).headers["set-cookie"]


@pytest.mark.parametrize(
    ("wanted", "goes"),
    [
        ("/calls/room-1?session=7", "/calls/room-1?session=7"),
        ("/calls?reason=error", "/calls?reason=error"),
        *((bad, "/calls") for bad in ("https://else.example", "//else.example", "/calls//else.example", "/callsign")),
        *(
            (bad, "/calls")
            for bad in ("/calls/\\else", "/", "/calls/sign-in", "/calls/x\r\nSet-Cookie: a=b", "/calls?é")
        ),
    ],
)
async def test_who_signs_in_goes_where_they_wanted_and_never_elsewhere(
    calls_door: FrontDoor, wanted: str, goes: str
) -> None:
    answer = await sign_in(calls_door, "acme-key", fields={"next": wanted})
    assert (answer.status, answer.headers["location"]) == (303, goes)


async def test_a_wrong_key_is_told_and_counted(
    cluster: FakeCluster, conversations: ConversationsDatabase, web_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with serving_calls(cluster, conversations, web_root, rate_limit_per_address=3) as door:
        answer = await sign_in(door, "a-wrong-key", fields={"next": "/calls/room"})
        assert answer.headers["location"] == "/calls/sign-in?next=%2Fcalls%2Froom#wrong"
        assert "set-cookie" not in answer.headers
        assert (await sign_in(door, "")).headers["location"].endswith("#wrong")
        assert (await door.call("POST", "/calls/sign-in", data=b"\xff", allow_redirects=False)).status == 303
        assert (await sign_in(door, "a-wrong-key")).headers["location"].endswith("#later")
        check_problem(await show(door, "/api/calls"), 429, "too-many-requests")
        assert (await show(door, "/calls", cookie_of(await sign_in(door, "acme-key")))).status == 200
    assert not any(key in str(record.__dict__) for record in caplog.records for key in ("a-wrong-key", "acme-key"))


@pytest.mark.parametrize(("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 303)])
async def test_another_site_signs_nobody_in_or_out(calls_door: FrontDoor, site: str, status: int) -> None:
    headers = {"Sec-Fetch-Site": site}
    assert (await sign_in(calls_door, "acme-key", headers=headers)).status == status
    out = await calls_door.call("POST", "/calls/sign-out", headers=headers, allow_redirects=False)
    assert out.status == status


async def test_a_key_that_is_taken_back_ends_its_sign_ins_and_no_other_of_its_tenant(
    conversations: ConversationsDatabase, calls_door: FrontDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("token_service.callers._RELOAD_SECONDS", 0)
    first, second = [cookie_of(await sign_in(calls_door, key)) for key in ("acme-key", "acme-second")]
    assert (await show(calls_door, "/api/calls", first)).status == 200
    path = conversations.folder / "keys"
    write_keys(path, {key: name for key, name in KEYS.items() if key != "acme-key"})
    os.utime(path, (1, 1))
    check_problem(await show(calls_door, "/api/calls", first), 401, "unauthorized")
    assert (await show(calls_door, "/calls", first)).body == "the form"
    assert (await show(calls_door, "/api/calls", second)).status == 200


async def test_an_issuer_s_token_is_a_key_and_its_cookie_lives_no_longer(
    cluster: FakeCluster, conversations: ConversationsDatabase, web_root: Path
) -> None:
    session_id = put_conversation(conversations)
    async with running_issuer() as issuer:
        oidc = {"auth_mode": "oidc", "oidc_issuer": issuer.url, "oidc_audience": AUDIENCE}
        async with serving_calls(cluster, conversations, web_root, **oidc) as door:
            ends = int(clock.now().timestamp()) + 600
            token = issuer.sign(exp=ends)
            assert await list_ids(door, key=token) == [session_id]
            cookie = cookie_of(await sign_in(door, token))
            claims = jwt.decode(cookie, options={"verify_signature": False})
            assert ends <= claims["exp"] <= ends + 30
            assert (await show(door, "/api/calls", cookie)).status == 200
            # By an API key of a time when those were asked for.
            older, _ = SignIns(TICKETS.key).sign(Caller("acme", "0" * 64), clock.now())
            assert (await show(door, "/calls", older)).status == 401
            assert (await sign_in(door, issuer.sign(exp=ends - 1200))).headers["location"].endswith("#wrong")


# Whose calls


async def test_another_tenant_s_call_does_not_exist(
    conversations: ConversationsDatabase, cluster: FakeCluster, calls_door: FrontDoor
) -> None:
    theirs = put_conversation(conversations, tenant="beta", room_id="theirs")
    nobodys = put_conversation(conversations, tenant=None, room_id="nobodys", minutes=1)
    cluster.put(VOICE_SESSIONS, "vs-1", {"room": "waiting", "tenant": "beta"}, {"phase": "Pending"})
    await cluster.until_seen()
    waiting = cluster.sessions["vs-1"]["metadata"]["uid"]
    for room in ("theirs", "nobodys", "waiting", "nowhere", "%00"):
        answer = await calls_door.call("GET", f"/api/calls/{room}", bearer="acme-key")
        check_problem(answer, 404, "no-such-call")
        if room in {"theirs", "waiting"}:
            assert (await calls_door.call("GET", f"/api/calls/{room}", bearer="beta-key")).status == 200
    answer = await calls_door.call("GET", f"/api/calls/theirs?session={theirs}", bearer="acme-key")
    check_problem(answer, 404, "no-such-call")
    assert await list_ids(calls_door) == []
    assert await list_ids(calls_door, "?room=theirs") == []
    check_problem(await calls_door.call("GET", "/api/calls?tenant=beta", bearer="acme-key"), 403, "not-allowed")
    assert await list_ids(calls_door, "?tenant=acme") == []
    assert await list_ids(calls_door, key="beta-key") == [waiting, theirs]
    assert await list_ids(calls_door, key="sre-key") == [waiting, nobodys, theirs]
    assert await list_ids(calls_door, "?tenant=beta", "sre-key") == [waiting, theirs]
    assert (await calls_door.call("GET", "/api/calls/nobodys", bearer="sre-key")).body["tenant"] is None


async def test_profiles_to_search_by_are_those_that_a_tenant_may_know(
    cluster: FakeCluster, calls_door: FrontDoor
) -> None:
    cluster.put(AGENT_PROFILES, "hidden", {"pool": "default", "public": False})
    cluster.put(AGENT_PROFILES, "betas", {"pool": "default", "allowedTenants": ["beta"]})
    await cluster.until_seen()
    for key, names in (("acme-key", ["default"]), ("sre-key", ["betas", "default", "hidden"])):
        answer = await calls_door.call("GET", "/api/calls", bearer=key)
        assert (answer.body["profiles"], answer.body["seesAll"]) == (names, key == "sre-key")
        assert "participant_left" in answer.body["reasons"]


# How they are found and told


async def test_calls_are_found_by_time_profile_reason_and_room(
    conversations: ConversationsDatabase, calls_door: FrontDoor
) -> None:
    ended = {"ended_at": NOON + timedelta(minutes=12), "end_reason": "idle"}
    wanted = put_conversation(conversations, 10, profile="shop", room_id="this", **ended)
    put_conversation(conversations, 20)
    put_conversation(conversations, 5, **{**ended, "end_reason": "error"})
    for query in (
        "?from=2026-01-01T12:08:00Z&to=2026-01-01T14:15:00%2B02:00",
        "?profile=shop",
        "?reason=idle",
        "?room=this",
        "?profile=shop&reason=idle&room=this&from=2026-01-01T12:10:00Z",
    ):
        assert await list_ids(calls_door, query) == [wanted], query
    assert await list_ids(calls_door, "?profile=bank") == []
    (item,) = (await calls_door.call("GET", "/api/calls?profile=shop", bearer="acme-key")).body["items"]
    assert item == {
        "sessionId": wanted,
        "room": "this",
        "profile": "shop",
        "tenant": "acme",
        "phase": "Ended",
        "reason": "idle",
        "startedAt": "2026-01-01T12:10:00Z",
        "endedAt": "2026-01-01T12:12:00Z",
        "durationSeconds": 120,
        "attempts": 1,
        "answers": 0,
        "medianAnswerMillis": None,
        "llmProvider": None,
    }
    for query in ("?from=yesterday", "?from=2026-01-01T12:00", "?limit=0", "?limit=201", "?profile=a+b", "?cursor=x"):
        check_problem(await calls_door.call("GET", f"/api/calls{query}", bearer="acme-key"), 422, "invalid-request")


async def test_pages_go_on_while_calls_come_also_those_to_which_no_agent_has_come(
    conversations: ConversationsDatabase, cluster: FakeCluster, calls_door: FrontDoor
) -> None:
    for number in range(7):
        put_conversation(conversations, number // 2)
        at = NOON + timedelta(minutes=number)
        spec = {"room": f"w{number}", "tenant": "acme"}
        cluster.put(VOICE_SESSIONS, f"vs-{number}", spec, {"phase": "Failed", "reason": "NoCapacity"}, created_at=at)
    await cluster.until_seen()
    whole = await list_ids(calls_door)
    assert len(set(whole)) == 14
    read, query = [], "?limit=3"
    while True:
        answer = await calls_door.call("GET", f"/api/calls{query}", bearer="acme-key")
        read += [each["sessionId"] for each in answer.body["items"]]
        put_conversation(conversations, 60)
        if answer.body["next"] is None:
            break
        query = f"?limit=3&cursor={answer.body['next']}"
    assert read == whole
    failed = (await calls_door.call("GET", "/api/calls?reason=NoCapacity&limit=1", bearer="acme-key")).body["items"]
    assert [(each["room"], each["attempts"], each["phase"]) for each in failed] == [("w6", 0, "Failed")]


async def test_a_call_is_told_whole_by_its_row_and_its_voicesession(
    conversations: ConversationsDatabase, cluster: FakeCluster, calls_door: FrontDoor
) -> None:
    def condition(kind: str, status: str, reason: str, minutes: float) -> dict[str, Any]:
        at = (NOON + timedelta(minutes=minutes)).isoformat()
        return {"type": kind, "status": status, "reason": reason, "message": "So it is.", "lastTransitionTime": at}

    at = [(NOON + timedelta(minutes=minutes)).isoformat() for minutes in range(4)]
    status = {
        "phase": "Active",
        "reason": "Joined",
        "message": "It talks.",
        "attempts": 2,
        "podName": "p",
        "nodeName": "n",
        "startType": "Warm",
        "boundAt": at[1],
        "agentJoinedAt": at[1],
        "conditions": [condition("PodBound", "True", "Bound", 1), condition("AgentJoined", "True", "Joined", 3)],
    }
    spec = {"room": "room", "tenant": "acme", "localMode": True}
    labels = {CALL_LABEL: "call-1"}
    raw = cluster.put(VOICE_SESSIONS, "vs-1", spec, status, labels, created_at=NOON)
    await cluster.until_seen()
    older = put_conversation(conversations, -60, ended_at=NOON, end_reason="idle")
    session_id = put_conversation(conversations, 1, session_id=raw["metadata"]["uid"], attempts=2, llm_provider="local")
    odd = {"answerMillis": 900, "note": "x", "far": 1.5}
    tool = {"name": "book", "callId": "1", "arguments": {"people": 2}}
    first, second = (AgentsConversation(conversations, session_id, attempt) for attempt in (1, 2))
    conversations.query("UPDATE voice.conversation_sessions SET attempts = 1 RETURNING 1")
    first.append(message(1, "hello"), message(2, "hi", "assistant", latencies=odd), message(3, "a note", "system"))
    second.append({**message(9, ""), "kind": "tool_call", "content": None, "role": "assistant", "tool": tool})

    answer = await calls_door.call("GET", "/api/calls/room", bearer="acme-key")
    assert answer.status == 200
    told = answer.body
    items, events = told.pop("items"), told.pop("events")
    assert told == {
        "sessionId": session_id,
        "room": "room",
        "profile": "default",
        "tenant": "acme",
        "phase": "Active",
        "reason": "Joined",
        "message": "It talks.",
        "startedAt": "2026-01-01T12:01:00Z",
        "agentJoinedAt": "2026-01-01T12:01:00Z",
        "endedAt": None,
        "endReason": None,
        "attempts": 2,
        "llmProvider": "local",
        "localMode": True,
        "usage": {},
        "traceId": hashlib.sha256(b"trace:call-1").hexdigest()[:32],
        "others": [{"sessionId": older, "startedAt": "2026-01-01T11:00:00Z"}],
    }
    assert [(each["role"], each["content"], each["attempt"]) for each in items] == [
        ("user", "hello", 1),
        ("assistant", "hi", 1),
        ("system", "a note", 1),
        ("assistant", None, 2),
    ]
    assert items[1]["latencies"] == {"answerMillis": 900}
    assert items[3]["tool"] == tool
    kinds = [each["kind"] for each in events]
    assert sorted(kinds) == ["attempt", "claimed", "created", "joined", "recovered"]
    assert kinds[0] == "created"
    assert "hello" not in json.dumps(events)

    answer = await calls_door.call("GET", f"/api/calls/room?session={older}", bearer="acme-key")
    assert (answer.body["sessionId"], answer.body["endReason"], answer.body["traceId"]) == (older, "idle", None)
    assert [each["kind"] for each in answer.body["events"]] == ["created", "ended"]
    assert [each["sessionId"] for each in answer.body["others"]] == [session_id]
    check_problem(
        await calls_door.call("GET", f"/api/calls/room?session={uuid.uuid4()}", bearer="acme-key"), 404, "no-such-call"
    )


async def test_what_an_agent_has_written_breaks_no_page(
    conversations: ConversationsDatabase, calls_door: FrontDoor
) -> None:
    session_id = put_conversation(conversations)
    agent = AgentsConversation(conversations, session_id)
    agent.append(
        *(message(n, "x", latencies=odd) for n, odd in enumerate([[1], "x", {"answerMillis": True}])),
        message(8, "x", tool=["x"]),
    )
    # As JSON has numbers that nobody else has.
    conversations.query(
        "UPDATE voice.conversation_messages SET tool = '{\"n\": 1e400}', latencies = '{\"answerMillis\": 1e400}' "
        "WHERE position = 1 RETURNING 1"
    )
    conversations.query("UPDATE voice.conversation_sessions SET usage = '{\"n\": [1e400]}' RETURNING 1")
    answer = await calls_door.call("GET", "/api/calls/room", bearer="acme-key")
    assert answer.status == 200
    assert len(answer.body["items"]) == 4
    conversations.query("UPDATE voice.conversation_sessions SET usage = '7' RETURNING 1")
    assert (await calls_door.call("GET", "/api/calls/room", bearer="acme-key")).body["usage"] == {}
    assert (await calls_door.call("GET", "/api/calls", bearer="acme-key")).status == 200


async def test_while_the_database_is_away_callers_are_told_when_to_come_back(
    cluster: FakeCluster, conversations: ConversationsDatabase, web_root: Path
) -> None:
    paths = ("/api/calls", "/api/calls/room")
    nowhere = "postgresql://voice_viewer:secret@127.0.0.1:9/voice"
    async with serving_calls(cluster, conversations, web_root, calls_database_url=nowhere) as door:
        for path in paths:
            details = check_problem(await door.call("GET", path, bearer="acme-key"), 503, "unavailable")
            assert "secret" not in str(details)
    # Pods of an upgrade that switches the page on are there before its migrations have run.
    conversations.migrate(viewer_database_password=None)
    async with serving_calls(cluster, conversations, web_root) as door:
        for path in paths:
            check_problem(await door.call("GET", path, bearer="acme-key"), 503, "unavailable")
        conversations.migrate()
        assert await list_ids(door) == []
