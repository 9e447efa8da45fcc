"""`ctx.api` of a pod: LiveKit's own client, and an operator that answers as told."""

import asyncio
from collections.abc import Callable

import pytest
from livekit import api

from testing.waiting import eventually, let_others_run
from voice_agent import server_api
from voice_agent.server_api import ServerApi
from voicesession.assignment import ApiAnswer, ApiRequest
from voicesession.server_api import MOST_AT_ONCE, MOST_REQUEST_BYTES, ApiRefusal

ROOM = api.ListParticipantsRequest(room="room")


class Operator:
    """Who is told of requests. `told`: those that nobody has withdrawn."""

    def __init__(self) -> None:
        self.told: list[ApiRequest] = []
        self.deletions = 0
        self.server_api = ServerApi(
            url="ws://livekit:7880", room="room", tell=self._tell, on_delete_room=self._delete_room
        )
        self.room = self.server_api.client.room

    def answer(self, number: int, message: bytes = b"", refusal: ApiRefusal | None = None) -> None:
        self.server_api.take(ApiAnswer(number=number, body=message, refusal=refusal))

    def _tell(self, request: ApiRequest) -> Callable[[], None]:
        self.told.append(request)
        return lambda: self.told.remove(request)

    def _delete_room(self) -> None:
        self.deletions += 1


@pytest.fixture
async def operator() -> Operator:
    """An operator that has not been asked for anything."""
    return Operator()


async def test_the_operators_answer_is_livekits(operator: Operator) -> None:
    listing = asyncio.create_task(operator.room.list_participants(ROOM))
    await eventually(lambda: operator.told)
    (request,) = operator.told
    assert (request.number, request.method) == (1, "RoomService/ListParticipants")
    assert api.ListParticipantsRequest.FromString(request.body) == ROOM
    them = api.ListParticipantsResponse(participants=[api.ParticipantInfo(identity="them")])
    operator.answer(1, them.SerializeToString())
    assert await listing == them
    assert operator.told == []
    operator.answer(1)  # once more, late
    operator.answer(99)


async def test_a_refusal_is_an_error_of_livekits(operator: Operator) -> None:
    request = api.RoomParticipantIdentity(room="room", identity="them")
    removing = asyncio.create_task(operator.room.remove_participant(request))
    await eventually(lambda: operator.told)
    operator.answer(1, refusal=ApiRefusal(message="the profile does not permit it", metadata={"a": "b"}))
    with pytest.raises(api.TwirpError, match="the profile does not permit it") as raised:
        await removing
    assert raised.value.code == api.TwirpErrorCode.PERMISSION_DENIED
    assert (raised.value.status, raised.value.metadata) == (403, {"a": "b"})


async def test_what_nobody_is_served_is_refused_here(operator: Operator) -> None:
    client = operator.server_api.client
    for asking in (
        client.sip.create_sip_participant(api.CreateSIPParticipantRequest(room_name="room")),
        client.sip.transfer_sip_participant(api.TransferSIPParticipantRequest(room_name="room")),
        client.egress.list_egress(api.ListEgressRequest(room_name="room")),
        client.agent_dispatch.list_dispatch("room"),
        client.room.create_room(api.CreateRoomRequest(name="other")),
    ):
        with pytest.raises(api.ServerError, match="agent pods, which hold no LiveKit key") as raised:
            await asking
        assert raised.value.code == "permission_denied"
    assert operator.told == []


async def test_the_calls_own_room_can_be_deleted_and_no_other(operator: Operator) -> None:
    assert await operator.room.delete_room(api.DeleteRoomRequest(room="room")) == api.DeleteRoomResponse()
    assert operator.deletions == 1
    with pytest.raises(api.ServerError, match="its call's own room, 'room', and not for 'other'"):
        await operator.room.delete_room(api.DeleteRoomRequest(room="other"))
    assert operator.deletions == 1


async def test_a_request_has_a_size(operator: Operator) -> None:
    long = api.UpdateRoomMetadataRequest(room="room", metadata="x" * MOST_REQUEST_BYTES)
    with pytest.raises(api.ServerError, match=f"at most {MOST_REQUEST_BYTES} bytes"):
        await operator.room.update_room_metadata(long)
    assert operator.told == []


async def test_an_operator_that_is_away_is_waited_for_and_not_for_ever(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_api, "ANSWER_SECONDS", 0.05)
    with pytest.raises(api.ServerError, match="may have been done") as raised:
        await operator.room.list_participants(ROOM)
    assert raised.value.code == "deadline_exceeded"
    assert operator.told == []


async def test_so_many_are_under_way_and_the_others_wait(operator: Operator) -> None:
    asking = [asyncio.create_task(operator.room.list_participants(ROOM)) for _ in range(MOST_AT_ONCE + 2)]
    await let_others_run()
    assert [request.number for request in operator.told] == list(range(1, MOST_AT_ONCE + 1))
    operator.answer(3)
    asking[0].cancel()
    await eventually(lambda: len(operator.told) == MOST_AT_ONCE and operator.told[-1].number == MOST_AT_ONCE + 2)
    assert {1, 3}.isdisjoint({request.number for request in operator.told})
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    assert operator.told == []
