"""What an agent's code asks of LiveKit, read, and passed on."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from livekit import api

from rooms.client import RoomClient
from rooms.room_requests import RoomRequestError, read_request
from testing.web_server import serving
from voicesession.server_api import MOST_ANSWER_BYTES, PERMISSIONS, ApiRefusal

REMOVE = "RoomService/RemoveParticipant"
THEM = api.RoomParticipantIdentity(room="room", identity="them").SerializeToString()
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def livekit(answer: Answer) -> AsyncIterator[RoomClient]:
    """Yields a client of a LiveKit that answers so."""
    app = web.Application()
    app.router.add_post("/twirp/livekit.{method:.*}", answer)
    async with serving(app) as port:
        rooms = RoomClient(f"http://127.0.0.1:{port}", "key", "s" * 32)
        try:
            yield rooms
        finally:
            await rooms.close()


@pytest.mark.parametrize("method", PERMISSIONS)
async def test_whatever_can_be_permitted_is_passed_on_as_it_came(method: str) -> None:
    asked: list[tuple[str, bytes]] = []

    async def note(request: web.Request) -> web.Response:
        asked.append((request.match_info["method"], await request.read()))
        return web.Response(body=b"", content_type="application/protobuf")

    is_list = method == "RoomService/ListRooms"
    message = api.ListRoomsRequest(names=["room"]) if is_list else api.ListParticipantsRequest(room="room")
    request = read_request(method, message.SerializeToString())
    assert request.rooms == ["room"]
    async with livekit(note) as rooms:
        assert await rooms.pass_on(request) == b""
    ((path, body),) = asked
    assert path == method
    assert read_request(method, body).rooms == ["room"]


@pytest.mark.parametrize(("names", "rooms"), [([], []), (["a", "b"], ["a", "b"])])
def test_a_list_of_rooms_names_those_that_it_is_of(names: list[str], rooms: list[str]) -> None:
    body = api.ListRoomsRequest(names=names).SerializeToString()
    assert read_request("RoomService/ListRooms", body).rooms == rooms


@pytest.mark.parametrize(
    ("method", "body"), [("RoomService/CreateRoom", b""), ("SIP/CreateSIPParticipant", b""), (REMOVE, b"\xff\xff")]
)
def test_what_cannot_be_read_is_not_passed_on(method: str, body: bytes) -> None:
    with pytest.raises(RoomRequestError):
        read_request(method, body)


def test_what_is_not_known_is_not_passed_on() -> None:
    unknown = b"\xfa\x3f\x05other"  # field 1023
    assert read_request(REMOVE, THEM + unknown).message.SerializeToString() == THEM


async def test_livekits_own_refusal_is_told_as_it_is() -> None:
    async def refuse(_request: web.Request) -> web.Response:
        problem: dict[str, Any] = {"code": "not_found", "msg": "no such participant", "meta": {"a": "b"}}
        return web.json_response(problem, status=404)

    async with livekit(refuse) as rooms:
        told = await rooms.pass_on(read_request(REMOVE, THEM))
    assert told == ApiRefusal(code="not_found", status=404, message="no such participant", metadata={"a": "b"})


async def test_a_livekit_that_does_not_answer_is_unavailable() -> None:
    rooms = RoomClient("http://127.0.0.1:9", "key", "s" * 32)
    told = await rooms.pass_on(read_request(REMOVE, THEM))
    await rooms.close()
    assert isinstance(told, ApiRefusal)
    assert (told.code, told.status) == ("unavailable", 503)


async def test_an_answer_that_no_pod_would_take_is_not_given() -> None:
    async def tell_much(_request: web.Request) -> web.Response:
        long = api.ParticipantInfo(metadata="x" * MOST_ANSWER_BYTES)
        return web.Response(body=long.SerializeToString(), content_type="application/protobuf")

    async with livekit(tell_much) as rooms:
        told = await rooms.pass_on(read_request("RoomService/GetParticipant", THEM))
    assert isinstance(told, ApiRefusal)
    assert told.code == "resource_exhausted"
