"""LiveKit's failures, as whoever asks it hears of them: by a server on loopback that does nothing but fail."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from rooms.client import LiveKitUnavailableError, RoomClient
from testing.web_server import serving
from voicesession.models import EffectiveLimits

SECRET = "a-secret-for-tests-of-at-least-32-bytes"
ASKING: list[Callable[[RoomClient], Awaitable[Any]]] = [
    lambda rooms: rooms.create("room", "its metadata", EffectiveLimits()),
    lambda rooms: rooms.list(),
    lambda rooms: rooms.find("room"),
    lambda rooms: rooms.delete("room"),
    lambda rooms: rooms.tell("room", {}),
    lambda rooms: rooms.has_agent("room"),
    lambda rooms: rooms.people("room"),
    lambda rooms: rooms.delete_or_leave("room"),
]


class FailingServer:
    """Answers every request with 503. `asked`: the paths of all."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        return web.json_response({"code": "unavailable", "msg": "not now"}, status=503)


@pytest.fixture
async def server() -> AsyncIterator[FailingServer]:
    failing = FailingServer()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", failing.answer)
    async with serving(app) as port:
        failing.url = f"http://127.0.0.1:{port}"
        yield failing


@pytest.fixture
async def rooms(server: FailingServer) -> AsyncIterator[RoomClient]:
    client = RoomClient(server.url, "key", SECRET)
    yield client
    await client.close()


@pytest.mark.parametrize("ask", ASKING)
async def test_a_livekit_that_fails_is_unavailable_and_its_words_are_told(
    rooms: RoomClient, ask: Callable[[RoomClient], Awaitable[Any]]
) -> None:
    with pytest.raises(LiveKitUnavailableError, match=r"(room|participants).*not now"):
        await ask(rooms)


@pytest.mark.parametrize("ask", ASKING)
async def test_a_livekit_that_is_not_there_is_unavailable(ask: Callable[[RoomClient], Awaitable[Any]]) -> None:
    rooms = RoomClient("ws://127.0.0.1:9", "key", SECRET)
    with pytest.raises(LiveKitUnavailableError, match="Cannot connect"):
        await ask(rooms)
    await rooms.close()


async def test_livekit_cloud_is_asked_once_too(
    server: FailingServer, rooms: RoomClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LiveKit's own client would ask a server of LiveKit Cloud three times, each time for as long as we wait."""
    monkeypatch.setattr("livekit.api._failover.is_cloud", lambda _host: True)
    with pytest.raises(LiveKitUnavailableError):
        await rooms.list()
    assert server.asked == ["/twirp/livekit.RoomService/ListRooms"]
