"""LiveKit is asked once for the agents of many silent calls."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from livekit import api
from livekit.protocol.models import ParticipantInfo, Room

from rooms.client import RoomClient
from testing.waiting import eventually
from voice_operator.calls import agent_look
from voice_operator.calls.agent_look import PARTICIPANTS_AT_ONCE, AgentLook
from voicesession.names import AGENT_IDENTITY


class Server:
    """A LiveKit of a few lines. `rooms`: who is in each; `asked`: how often it was, by method."""

    def __init__(self, rooms: dict[str, list[str]]) -> None:
        self.rooms = rooms
        self.asked: Counter[str] = Counter()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[tuple[AgentLook, list[str]]]:
        """Yields a look at it, and the calls that were found without their agent."""
        app, found = web.Application(), list[str]()
        app.router.add_post("/twirp/livekit.RoomService/{method}", self._answer)
        async with TestServer(app) as server:
            rooms = RoomClient(str(server.make_url("")), "key", "s" * 32)
            look = AgentLook(rooms, found.append)
            try:
                yield look, found
            finally:
                await look.close()
                await rooms.close()

    async def _answer(self, request: web.Request) -> web.Response:
        method, body = request.match_info["method"], await request.read()
        self.asked[method] += 1
        if method == "ListRooms":
            names = api.ListRoomsRequest.FromString(body).names
            answer = api.ListRoomsResponse(rooms=[Room(name=name) for name in names if name in self.rooms])
            return web.Response(body=answer.SerializeToString(), content_type="application/protobuf")
        room = api.ListParticipantsRequest.FromString(body).room
        who = [ParticipantInfo(identity=identity) for identity in self.rooms[room]]
        told = api.ListParticipantsResponse(participants=who)
        return web.Response(body=told.SerializeToString(), content_type="application/protobuf")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks without a pause between."""
    monkeypatch.setattr(agent_look, "LOOK_SECONDS", 0.0)


async def test_many_silent_calls_are_one_question_and_their_rooms_a_few_at_a_time() -> None:
    server = Server({f"room-{number}": [AGENT_IDENTITY] for number in range(120)} | {"left": ["customer"]})
    async with server.serving() as (look, found):
        for number in range(120):
            look.ask(f"there-{number}", f"room-{number}")
        look.ask("gone", "no room")
        look.ask("alone", "left")
        await eventually(lambda: server.asked["ListParticipants"] == 121)
        await eventually(lambda: look.absent.keys() == {"gone", "alone"})
        assert sorted(found) == ["alone", "gone"]
        assert server.asked["ListRooms"] == -(-121 // PARTICIPANTS_AT_ONCE)


async def test_an_agent_that_is_seen_again_is_not_absent_and_what_is_forgotten_is_not_told() -> None:
    server = Server({})
    async with server.serving() as (look, _found):
        look.ask("call", "room")
        await eventually(lambda: look.absent.keys() == {"call"})
        server.rooms["room"] = [AGENT_IDENTITY]
        look.ask("call", "room")
        await eventually(lambda: not look.absent)
        look.ask("other", "no room")
        look.forget("other")
        look.ask("call", "no room")
        await eventually(lambda: look.absent.keys() == {"call"})


async def test_a_livekit_that_does_not_answer_says_nothing_of_any_agent() -> None:
    look = AgentLook(RoomClient("http://127.0.0.1:1", "key", "s" * 32), lambda _uid: None)
    look.ask("call", "room")
    await eventually(lambda: look._task is not None and look._task.done())
    assert not look.absent
    await look.close()
