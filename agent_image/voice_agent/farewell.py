"""The way out of a call: says what is still to be said, writes its end, and puts everything away."""

import asyncio
import logging
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from livekit.agents import NOT_GIVEN, AgentSession

from voice_agent.apology import APOLOGY, recorded_apology, speak, tell_customer
from voice_agent.code_loader import EntrypointCode
from voice_agent.conversation_items import build_usage
from voice_agent.conversation_log import ConversationLog
from voice_agent.endings import CallFacts, Ending
from voice_agent.haste import Haste
from voice_agent.job_context import CallContext, CallRoom, call_their_code
from voice_agent.profile_agent import fill_in, find_spoken
from voice_agent.spoken_cache import build_frames
from voice_agent.text import clean
from voice_agent.workshop import Workshop
from voicesession import clock
from voicesession.assignment import Assignment
from voicesession.models import EndReason, Provider
from voicesession.spool import SpooledEnd

GOODBYE_SECONDS = 6.0
APOLOGY_SECONDS = 12.0
JOIN_SECONDS = 20.0
CUSTOMER_SECONDS = 20.0
CLOSE_SECONDS = 4.0
CALLBACK_SECONDS = 5.0
ENTRYPOINT_SECONDS = 1.0
DISCONNECT_SECONDS = 3.0
# Longer than a write ever takes: what the database has not got by then goes another way, and the call ends.
FLUSH_SECONDS = 3.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Farewell:
    """One call's end: what has to be put away, and who may still be there to hear it."""

    assignment: Assignment
    provider: Provider
    workshop: Workshop
    room: CallRoom
    context: CallContext
    conversation: ConversationLog
    facts: CallFacts
    haste: Haste
    customer_joined: asyncio.Event
    can_join: bool  # False: LiveKit has refused, or could not be reached
    trouble: str  # the model that failed last

    async def take(self, ending: Ending, work: asyncio.Task[None], others: Collection[asyncio.Task[None]]) -> Ending:
        """Takes leave, each step within its deadline; returns the ending with what the models were used for.

        `work` is the agent's code, `others` what else runs for the call.
        """
        session = self.context.primary
        if ending.wants_goodbye and self._customer_hears and session is not None:
            await self.haste.within(GOODBYE_SECONDS, self._say_goodbye(session), "goodbye")
        if session is not None:
            await self.haste.within(CLOSE_SECONDS, session.aclose(), "closing the agent session")
            ending = replace(ending, usage=build_usage(session))
        if ending.reason is EndReason.ERROR and await self._customer_to_apologize_to():
            await self.haste.within(APOLOGY_SECONDS, self._apologize(session), "apology")
        await self._stop_code(work, others)
        await self.haste.within(DISCONNECT_SECONDS, self.room.disconnect(), "leaving the room")
        told = ending.message if ending.by_code else ending.reason.value
        await self.context.run_shutdown_callbacks(told, self.haste.time_for(CALLBACK_SECONDS))
        ending = await self._write_end(ending)
        await self.haste.within(CLOSE_SECONDS, self.context.clean_up(), "cleaning up")
        return ending

    async def _stop_code(self, work: asyncio.Task[None], others: Collection[asyncio.Task[None]]) -> None:
        code = self.workshop.code
        if isinstance(code, EntrypointCode):
            # It may have something to do after its session; ours never has.
            await asyncio.wait({work}, timeout=self.haste.time_for(ENTRYPOINT_SECONDS))
        work.cancel()
        await asyncio.wait({work, *others}, timeout=self.haste.time_for(CLOSE_SECONDS))
        if isinstance(code, EntrypointCode) and code.on_session_end is not None:
            hook = call_their_code(code.on_session_end, self.context)
            await self.haste.within(CALLBACK_SECONDS, hook, "on_session_end")

    @property
    def _customer_hears(self) -> bool:
        return self.facts.customer_present and self.room.isconnected()

    async def _customer_to_apologize_to(self) -> bool:
        """Waits a while for a customer who is still to come; returns whether there is one to apologize to."""
        if not self.can_join or self.facts.customer_left_at is not None:
            return False
        # Code that failed before it joined has left the customer alone in the room.
        await self.haste.within(JOIN_SECONDS, self.context.connect(), "joining to apologize")
        waits = [asyncio.create_task(event.wait()) for event in (self.customer_joined, self.haste.begun)]
        timeout = min(CUSTOMER_SECONDS, self.assignment.limits.join_timeout_seconds)
        await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        return self._customer_hears

    async def _say_goodbye(self, session: AgentSession[Any]) -> None:
        text = fill_in(self.assignment.profile.goodbye, self.assignment.variables).strip()
        if not text or session.tts is None:
            return
        await session.interrupt(force=True)
        pcm = self._find_spoken(text)
        speech = session.say(text, audio=build_frames(pcm) if pcm else NOT_GIVEN, allow_interruptions=False)
        await speech.wait_for_playout()

    async def _apologize(self, session: AgentSession[Any] | None) -> None:
        await tell_customer(self.room, EndReason.ERROR.value, APOLOGY)
        pcm = self._find_spoken(APOLOGY) or await self._speak_live(session) or recorded_apology()
        await speak(self.room, pcm)

    async def _speak_live(self, session: AgentSession[Any] | None) -> bytes | None:
        """Returns the apology in the agent's own voice, or None when that is what has failed."""
        if session is None or session.tts is None or "text-to-speech" in self.trouble:
            return None
        try:
            async with asyncio.timeout(3):
                frame = await session.tts.synthesize(APOLOGY).collect()
        except Exception as error:
            log.warning("the apology could not be synthesized", extra={"error": error})
            return None
        return bytes(frame.data) if frame.sample_rate == 24_000 and frame.num_channels == 1 else None

    def _find_spoken(self, text: str) -> bytes | None:
        return find_spoken(text, self.workshop.spoken, self.provider, self.assignment.profile)

    async def _write_end(self, ending: Ending) -> Ending:
        if self.facts.joined_at is None:
            return ending
        end = SpooledEnd(reason=ending.reason.value, ended_at=clock.now(), usage=clean(ending.usage))
        if not await self.conversation.finish(end, self.haste.time_for(FLUSH_SECONDS, kept=0)):
            items = self.conversation.unwritten
            log.warning("the database does not have all of the conversation yet", extra={"items": items})
        if not self.conversation.lost:
            return ending
        lost = f"items of the conversation that could not be written: {self.conversation.lost}"
        return replace(ending, message=f"{ending.message}; {lost}" if ending.message else lost)
