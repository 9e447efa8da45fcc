"""Asks LiveKit whether the agents of silent calls are in their rooms: once for many calls, never in a call's way."""

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import datetime

from rooms.client import LiveKitUnavailableError, RoomClient
from voice_telemetry.logs import fresh_log_context
from voicesession import clock

log = logging.getLogger(__name__)

# However many calls are silent (all of them, after a cut of this process's network), LiveKit is asked so often at most,
# for so many rooms at once, and for the participants of so many of them. The others' turn comes later.
LOOK_SECONDS = 2.0
ROOMS_AT_ONCE = 500
PARTICIPANTS_AT_ONCE = 50
_GATE = 5


class AgentLook:
    """What LiveKit said last of the agents of silent calls, by the uid of their VoiceSession.

    `absent`: when it said that it does not see one. Where LiveKit does not say, an agent is taken to be there.
    """

    def __init__(self, rooms: RoomClient, on_answer: Callable[[str], object]) -> None:
        """`on_answer` is told the uid of each call whose agent is found to be absent."""
        self.absent: dict[str, datetime] = {}  # by the steady clock
        self._rooms = rooms
        self._on_answer = on_answer
        self._asked: dict[str, str] = {}  # room by uid, who asked first first
        self._looked_at = float("-inf")
        self._task: asyncio.Task[None] | None = None

    def ask(self, uid: str, room: str) -> None:
        """Has the next look include this call."""
        self._asked.setdefault(uid, room)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look_until_all_are_told(), name="agent-look")

    def forget(self, uid: str) -> None:
        """Drops what is known of this call's agent: it is another one now, or none is asked for."""
        self.absent.pop(uid, None)
        self._asked.pop(uid, None)

    async def close(self) -> None:
        """Asks no more."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _look_until_all_are_told(self) -> None:
        while self._asked:
            await asyncio.sleep(self._looked_at + LOOK_SECONDS - time.monotonic())
            self._looked_at = time.monotonic()
            try:
                await self._look()
            except LiveKitUnavailableError as error:
                with fresh_log_context():  # not of the call that asked first
                    log.warning("LiveKit does not say whether silent pods' agents are there", extra={"error": error})
                self._asked.clear()  # who is still silent asks again

    async def _look(self) -> None:
        asked = dict(list(self._asked.items())[:ROOMS_AT_ONCE])
        rooms = {room.name for room in await self._rooms.list(list(set(asked.values())))}
        for uid, room in asked.items():
            if room not in rooms:
                self._take(uid, is_there=False)
        gate = asyncio.Semaphore(_GATE)

        async def look_into(uid: str, room: str) -> None:
            async with gate:
                self._take(uid, is_there=await self._rooms.has_agent(room))

        open_rooms = [(uid, room) for uid, room in asked.items() if room in rooms][:PARTICIPANTS_AT_ONCE]
        for error in await asyncio.gather(*(look_into(*each) for each in open_rooms), return_exceptions=True):
            if error is not None:
                raise error

    def _take(self, uid: str, *, is_there: bool) -> None:
        if self._asked.pop(uid, None) is None:
            return  # forgotten meanwhile
        if is_there:
            self.absent.pop(uid, None)
        else:
            self.absent[uid] = clock.steady()
            self._on_answer(uid)
