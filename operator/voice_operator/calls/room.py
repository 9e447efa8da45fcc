"""The room of a call in LiveKit: made, asked for its agent, told a refusal, closed."""

import logging
from dataclasses import replace

from rooms.client import LiveKitUnavailableError, RoomClient
from voice_operator.calls.memory import CallMemory, Calls
from voice_operator.calls.steps import CloseRoom, MakeRoom, TellRefusal
from voicesession import clock
from voicesession.customer_words import build_notice, words_for_customer
from voicesession.models import Phase
from voicesession.tickets import TicketKey, new_ticket

log = logging.getLogger(__name__)


class CallRooms:
    """The rooms of all calls."""

    def __init__(self, rooms: RoomClient, tickets: TicketKey, calls: Calls) -> None:
        self._rooms = rooms
        self._tickets = tickets
        self._calls = calls

    async def make(self, memory: CallMemory, step: MakeRoom) -> CallMemory:
        """Creates the room.

        Raises:
            LiveKitUnavailableError: it is not there; to be told, and tried again.
        """
        spec = step.session.spec
        ticket = new_ticket(
            spec.profile,
            tenant=spec.tenant,
            participant_identity=spec.participant_identity,
            local_mode=spec.local_mode,
            voice_session=memory.name,
        )
        try:
            room = await self._rooms.create(memory.room, self._tickets.sign(ticket, memory.room), step.limits)
        except LiveKitUnavailableError as error:
            self._calls.keep(replace(memory, livekit_error=str(error)))
            raise
        return replace(memory, room_sid=room.sid, room_made_at=clock.steady(), livekit_error=None)

    async def tell(self, memory: CallMemory, step: TellRefusal) -> CallMemory:
        """Tells the customer in the room why there will be no agent; that they cannot be told is logged."""
        reason = step.problem.reason
        try:
            if not (step.leaves_people and await self._rooms.is_company(memory.room)):
                await self._rooms.tell(memory.room, build_notice(reason, words_for_customer(reason, Phase.FAILED)))
        except LiveKitUnavailableError as error:
            log.warning("the customer could not be told", extra={"error": error})
        return replace(memory, untold=None)

    async def close(self, memory: CallMemory, step: CloseRoom) -> CallMemory:
        """Deletes the room, but not a later start of its name; or leaves it to the people in it.

        Raises:
            LiveKitUnavailableError: it may still be there.
        """
        if memory.room and not step.leaves_people:
            await self._rooms.delete(memory.room, memory.room_sid)
        elif memory.room and await self._rooms.delete_or_leave(memory.room, memory.room_sid):
            log.info("the room is left to the people in it")
        return replace(memory, room_closed=True)
