"""`ctx.api`: LiveKit's own client, whose requests the operator is asked for, since a pod holds no LiveKit key."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import aiohttp
from livekit import api

from voicesession import clock
from voicesession.assignment import ApiAnswer, ApiRequest
from voicesession.server_api import (
    DELETE_ROOM,
    MOST_AT_ONCE,
    MOST_REQUEST_BYTES,
    ApiRefusal,
    refuse_method,
    refuse_rooms,
)

# As long as LiveKit's own client waits. The wait for one's turn is in it.
ANSWER_SECONDS = 10.0
_PATH = "/twirp/livekit."


class ServerApi:
    """LiveKit's server API, for the code of one call. `client`: what the code is given."""

    def __init__(
        self,
        *,
        url: str,
        room: str,
        tell: Callable[[ApiRequest], Callable[[], None]],
        on_delete_room: Callable[[], None],
    ) -> None:
        """`tell` tells the operator of a request, until what it returns is called. `on_delete_room` asks for that."""
        self._room = room
        self._tell = tell
        self._on_delete_room = on_delete_room
        self._numbers = itertools.count(1)
        self._turns = asyncio.Semaphore(MOST_AT_ONCE)
        self._waiting: dict[int, asyncio.Future[ApiAnswer]] = {}
        session = cast(aiohttp.ClientSession, _Session(self._ask))
        self.client = api.LiveKitAPI(url, token="the operator's", session=session, failover=False)  # noqa: S106 - none

    def take(self, answer: ApiAnswer) -> None:
        """Takes the operator's answer in; one that nobody waits for any more is dropped."""
        waiting = self._waiting.get(answer.number)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def delete_room(self, room: str) -> None:
        """Asks for the deletion of the call's own room.

        Raises:
            livekit.api.ServerError: it is another one.
        """
        if refusal := refuse_rooms([room], self._room):
            raise api.ServerError(refusal.code, refusal.message, status=refusal.status)
        self._on_delete_room()

    async def _ask(self, method: str, body: bytes) -> bytes | ApiRefusal:
        if method == DELETE_ROOM:
            self.delete_room(api.DeleteRoomRequest.FromString(body).room)
            return api.DeleteRoomResponse().SerializeToString()
        if refusal := refuse_method(method):
            return refusal
        if len(body) > MOST_REQUEST_BYTES:
            message = f"A request of an agent has at most {MOST_REQUEST_BYTES} bytes."
            return ApiRefusal(code="invalid_argument", status=400, message=message)
        try:
            async with asyncio.timeout(ANSWER_SECONDS), self._turns:
                answer = await self._ask_operator(method, body)
        except TimeoutError:
            message = f"The operator has not answered within {ANSWER_SECONDS:.0f} s; it may have been done."
            return ApiRefusal(code="deadline_exceeded", status=408, message=message)
        return answer.refusal or answer.body

    async def _ask_operator(self, method: str, body: bytes) -> ApiAnswer:
        number = next(self._numbers)
        answer: asyncio.Future[ApiAnswer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        withdraw = self._tell(ApiRequest(at=clock.now(), number=number, method=method, body=body))
        try:
            return await answer
        finally:
            withdraw()
            del self._waiting[number]


class _Session:
    """As much of an HTTP session as LiveKit's client uses."""

    timeout = None

    def __init__(self, ask: Callable[[str, bytes], Awaitable[bytes | ApiRefusal]]) -> None:
        self._ask = ask

    @contextlib.asynccontextmanager
    async def post(self, url: str, *, data: bytes, **_: object) -> "AsyncIterator[_Response]":
        yield _Response(await self._ask(url.partition(_PATH)[2], data))


class _Response:
    """As much of an HTTP response as LiveKit's client reads."""

    def __init__(self, answer: bytes | ApiRefusal) -> None:
        self.status = answer.status if isinstance(answer, ApiRefusal) else 200
        self._answer = answer

    async def read(self) -> bytes:
        return self._answer if isinstance(self._answer, bytes) else b""

    async def json(self) -> dict[str, Any]:
        refusal = cast(ApiRefusal, self._answer)
        return {"code": refusal.code, "msg": refusal.message, "meta": refusal.metadata}
