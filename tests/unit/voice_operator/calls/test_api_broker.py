"""What becomes of a request of an agent's code: a LiveKit and a pod of a few lines, and the broker between them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from livekit import api

from rooms.client import RoomClient
from testing.operator_objects import NOW, UID, finished_conditions, joined_conditions, make_claimed_pod, make_session
from testing.waiting import eventually, let_others_run, stays
from voice_operator.cache import Cache
from voice_operator.calls import api_broker
from voice_operator.calls.api_broker import ANSWER_TRIES, BURST, MOST_OF_A_POD, ApiBroker, Pace, find_own_room
from voice_operator.calls.memory import CallMemory, Calls
from voice_operator.metrics import AGENT_REQUESTS
from voice_operator.pods.client import PodClient
from voicesession import clock
from voicesession.assignment import ApiAnswer, ApiRequest
from voicesession.models import VoiceSession
from voicesession.pod_tokens import Purpose, public_key_pem, verify_pod_request

POD = make_claimed_pod(ip="127.0.0.1")
MEMORY = CallMemory(UID, 0, NOW, name="call", room="room")
TALKING = make_session(conditions=joined_conditions())
REMOVE = "RoomService/RemoveParticipant"


@dataclass
class Stage:
    """The call of POD, in `room`. `asked`: what LiveKit was asked for; `answers`: what the pod was told.

    open: LiveKit answers. refusals: how often the pod takes no answer.
    """

    cache: Cache = field(default_factory=Cache)
    calls: Calls = field(default_factory=Calls)
    asked: list[str] = field(default_factory=list)
    answers: list[ApiAnswer] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    refusals: int = 0
    versions: int = 0
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    ask: Callable[[ApiRequest], None] = lambda _request: None
    is_busy: Callable[[], bool] = lambda: False

    def permit(self, *permissions: str) -> None:
        """Writes the profile."""
        self.versions += 1
        metadata = {"name": "default", "uid": "uid", "resourceVersion": str(self.versions)}
        profile = {"metadata": metadata, "spec": {"permissions": permissions}}
        self.cache.profiles.put(profile)

    def remove(self, room: str = "room", number: int = 1) -> None:
        """Asks as the pod does."""
        body = api.RoomParticipantIdentity(room=room, identity="them").SerializeToString()
        self.ask(ApiRequest(at=clock.now(), number=number, method=REMOVE, body=body))

    async def until_told(self, count: int = 1) -> list[str]:
        """Returns what the pod was told, when it was so often."""
        await eventually(lambda: len(self.answers) == count)
        return [answer.refusal.code if answer.refusal else "ok" for answer in self.answers]

    async def answer_as_livekit(self, request: web.Request) -> web.Response:
        self.asked.append(request.match_info["method"])
        await self.open.wait()
        return web.Response(body=b"", content_type="application/protobuf")

    async def take_as_pod(self, request: web.Request) -> web.Response:
        body = await request.read()
        token = request.headers["Authorization"].removeprefix("Bearer ")
        verify_pod_request(public_key_pem(self.key), token, POD.uid, Purpose.API_ANSWER, body)
        if self.refusals:
            self.refusals -= 1
            return web.Response(status=503)
        self.answers.append(ApiAnswer.model_validate_json(body))
        return web.Response(status=202)


@asynccontextmanager
async def serving(stage: Stage, session: VoiceSession = TALKING, memory: CallMemory = MEMORY) -> AsyncIterator[None]:
    """Lets the stage's pod ask."""
    stage.cache.sessions.put(session.to_wire())
    stage.calls.keep(memory)
    app = web.Application()
    app.router.add_post("/twirp/livekit.RoomService/{method}", stage.answer_as_livekit)
    app.router.add_post("/api-answer", stage.take_as_pod)
    async with TestServer(app) as server:
        rooms, pods = RoomClient(str(server.make_url("")), "key", "s" * 32), PodClient(stage.key, port=server.port or 0)
        broker = ApiBroker(stage.cache, stage.calls, rooms, pods)
        stage.ask = broker.serve(UID, POD)
        stage.is_busy = lambda: bool(broker._tasks)
        try:
            yield
        finally:
            await broker.close()
            await rooms.close()
            await pods.close()


@pytest.fixture
async def stage() -> Stage:
    """A call whose profile permits to remove somebody, and a LiveKit that answers."""
    made = Stage()
    made.open.set()
    made.permit("RemoveParticipants")
    return made


async def test_what_is_permitted_is_done_in_the_calls_own_room(stage: Stage) -> None:
    async with serving(stage):
        stage.remove(number=7)
        assert await stage.until_told() == ["ok"]
    assert stage.asked == ["RemoveParticipant"]
    assert stage.answers == [ApiAnswer(number=7)]


async def test_what_is_not_permitted_any_more_is_refused(stage: Stage) -> None:
    async with serving(stage):
        stage.remove()
        await stage.until_told()
        stage.permit()
        stage.remove()
        assert await stage.until_told(2) == ["ok", "permission_denied"]
    assert stage.answers[1].refusal is not None
    assert "add RemoveParticipants" in stage.answers[1].refusal.message
    assert stage.asked == ["RemoveParticipant"]


@pytest.mark.parametrize(
    ("method", "body", "code"),
    [
        (REMOVE, api.RoomParticipantIdentity(room="other", identity="them").SerializeToString(), "permission_denied"),
        (REMOVE, b"", "permission_denied"),
        (REMOVE, b"\xff\xff", "malformed"),
        ("RoomService/CreateRoom", b"", "permission_denied"),
        ("RoomService/DeleteRoom", api.DeleteRoomRequest(room="room").SerializeToString(), "permission_denied"),
        ("../somewhere", b"", "permission_denied"),
    ],
)
async def test_livekit_does_not_hear_of_what_is_refused(stage: Stage, method: str, body: bytes, code: str) -> None:
    async with serving(stage):
        stage.ask(ApiRequest(at=clock.now(), number=1, method=method, body=body))
        assert await stage.until_told() == [code]
    assert stage.asked == []


@pytest.mark.parametrize(
    ("session", "memory"),
    [
        (make_session(conditions=finished_conditions()), MEMORY),
        (TALKING, CallMemory(UID, 0, NOW, name="call", room="room", room_closed=True)),
        (TALKING, CallMemory(UID, 0, NOW, name="call")),
        (make_session(uid="of another call"), MEMORY),
    ],
)
async def test_a_call_that_is_over_has_no_room(stage: Stage, session: VoiceSession, memory: CallMemory) -> None:
    async with serving(stage, session, memory):
        stage.remove()
        assert await stage.until_told() == ["not_found"]
    assert stage.asked == []


def test_a_call_that_nobody_knows_has_no_room() -> None:
    assert find_own_room(None, MEMORY) is None
    assert find_own_room(TALKING, None) is None
    assert find_own_room(TALKING, MEMORY) == "room"


async def test_an_answer_is_told_until_the_pod_takes_it(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_broker, "RETRY_SECONDS", 0.0)
    stage.refusals = ANSWER_TRIES - 1
    async with serving(stage):
        stage.remove()
        assert await stage.until_told() == ["ok"]
        stage.refusals = ANSWER_TRIES
        stage.remove()
        await eventually(lambda: stage.refusals == 0)
        await stays(lambda: len(stage.answers) == 1, 0.1, "it is told once more")


async def test_who_asks_too_often_waits(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_broker, "REQUESTS_PER_SECOND", 0.1)
    async with serving(stage):
        for number in range(BURST):
            stage.remove(number=number + 1)
            assert await stage.until_told(number + 1) == ["ok"] * (number + 1)
        stage.remove(number=99)
        await stays(lambda: len(stage.asked) == BURST, 0.2, "one more than so many at once")


def test_so_many_may_come_at_once_and_the_next_ones_one_by_one() -> None:
    pace = Pace()
    assert [pace.count(NOW) for _ in range(BURST)] == [0.0] * BURST
    assert [pace.count(NOW) for _ in range(2)] == [0.2, 0.4]
    assert pace.count(NOW + timedelta(seconds=0.6)) == 0.0
    later = NOW + timedelta(hours=1)
    assert [pace.count(later) for _ in range(BURST + 1)] == [0.0] * BURST + [0.2]


async def test_a_flood_waits_for_nobody_and_holds_nothing(stage: Stage) -> None:
    stage.open.clear()
    dropped = AGENT_REQUESTS.labels("dropped")
    before: Any = dropped._value.get()
    async with serving(stage):
        for number in range(MOST_OF_A_POD + 5):
            stage.remove(number=number + 1)
        await let_others_run()
        assert dropped._value.get() - before == 5
        stage.open.set()
        await stage.until_told(MOST_OF_A_POD)
        # The pod has its answers before the broker knows that.
        await eventually(lambda: not stage.is_busy())
        stage.remove(number=99)
        await stage.until_told(MOST_OF_A_POD + 1)
