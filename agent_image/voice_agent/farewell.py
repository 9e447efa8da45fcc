"""The way out of a call: says what is still to be said, writes its end, and puts everything away."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from livekit.agents import AgentSession

from voice_agent.apology import APOLOGY, recorded_apology, speak, tell_customer
from voice_agent.code_loader import EntrypointCode
from voice_agent.conversation_items import build_usage
from voice_agent.conversation_log import ConversationLog
from voice_agent.endings import CallFacts, Ending
from voice_agent.haste import Haste, within
from voice_agent.job_context import CallContext, CallRoom, call_their_code
from voice_agent.profile_agent import find_spoken
from voice_agent.quiet import may_have_words
from voice_agent.text import clean
from voice_agent.variables import fill_in_words
from voice_agent.voices import find_voice, say_words, until_silent
from voice_agent.worker_options import SESSION_END_SECONDS
from voice_agent.workshop import Workshop
from voicesession import clock
from voicesession.assignment import Assignment
from voicesession.models import EndReason, Provider
from voicesession.spool import SpooledEnd

# A goodbye is said whole, and takes its time. The longest that a profile may have is said in less.
GOODBYE_SECONDS = 110.0
GOODBYE_BEGIN_SECONDS = 10.0
INTERRUPT_SECONDS = 1.0
APOLOGY_SECONDS = 12.0
JOIN_SECONDS = 20.0
CUSTOMER_SECONDS = 20.0
CLOSE_SECONDS = 4.0
# For the transcript of what the customer was saying as they left.
LAST_WORD_SECONDS = 5.0
NO_WORD_SECONDS = 0.3
# As LiveKit's worker gives it. Code that waits for ever is no rare thing.
ENTRYPOINT_SECONDS = 15.0
DISCONNECT_SECONDS = 3.0
# Work that takes longer does not hold the customer's place.
FINISHING_SECONDS = 1.0
_PACE_SECONDS = 0.1
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
    on_finishing: Callable[[Ending, float], None]  # the customer is served; work goes on, for so many seconds at most
    write_rest: Callable[[], None]  # has what no event has told written, before the end
    _cut_short: list[str] = field(default_factory=list)
    _leaving: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def take(self, ending: Ending, work: asyncio.Task[None], others: Collection[asyncio.Task[Any]]) -> Ending:
        """Takes leave, each step within its deadline; returns the ending with what is known of it by then.

        `work` is the agent's code, `others` what else runs for the call.
        """
        session = self.context.primary
        if ending.wants_goodbye and self._customer_hears and session is not None:
            await self.haste.within(GOODBYE_SECONDS, self._say_goodbye(session), "goodbye")
        closing = asyncio.create_task(self._close(session, ending), name="closing the agent session")
        if ending.reason is EndReason.ERROR:
            await self.haste.within(CLOSE_SECONDS, asyncio.wait({closing}), "falling silent")
            if await self._customer_to_apologize_to():
                await self.haste.within(APOLOGY_SECONDS, self._apologize(session), "apology")
        over_at = clock.now()
        telling = asyncio.create_task(self._tell_if_long(ending, session), name="telling that work goes on")
        try:
            await self._finish_work(ending, closing, work, others)
        finally:
            telling.cancel()
        await self._leave_room()
        ending = replace(ending, usage=build_usage(self.context.sessions), cut_short=tuple(self._cut_short))
        ending = await self._write_end(ending, over_at)
        await self.haste.within(CLOSE_SECONDS, self.context.clean_up(), "cleaning up")
        return ending

    async def _close(self, session: AgentSession[Any] | None, ending: Ending) -> None:
        if session is None:
            return
        # Else closing waits for words that nobody has said, or that nobody will understand.
        is_deaf = ending.reason is EndReason.ERROR and "speech-to-text" in self.trouble
        has_words = may_have_words(self.facts, time.monotonic()) and not is_deaf
        longest = LAST_WORD_SECONDS if has_words else NO_WORD_SECONDS
        session._opts.session_close_transcript_timeout = longest  # noqa: SLF001 - no way to say it at this time
        await session.aclose()

    async def _finish_work(
        self,
        ending: Ending,
        closing: asyncio.Task[None],
        work: asyncio.Task[None],
        others: Collection[asyncio.Task[Any]],
    ) -> None:
        """Lets tools and the code's end hooks come to their end, in the order in which LiveKit's worker does."""
        # Whoever closes an agent session waits for its tools.
        await self._let(self._seconds_for_tools, closing, "tools")
        closing.cancel()
        code = self.workshop.code
        if isinstance(code, EntrypointCode):
            # It may have something to do after its session; ours never has.
            await self.haste.within(ENTRYPOINT_SECONDS, asyncio.wait({work}), "the entrypoint")
        for task in (work, *others):
            task.cancel()
        await self.haste.within(CLOSE_SECONDS, asyncio.wait({closing, work, *others}), "stopping the agent's code")
        if isinstance(code, EntrypointCode) and code.on_session_end is not None:
            hook = call_their_code(code.on_session_end, self.context)
            await self._let(self._seconds_for_hooks, hook, "on_session_end")
        told = ending.message if ending.by_code else ending.reason.value
        await self._let(self._seconds_for_hooks, self.context.run_shutdown_callbacks(told), "shutdown callbacks")

    async def _let(self, seconds: float, step: Awaitable[object], what: str) -> None:
        if not await self.haste.within(seconds, step, what):
            self._cut_short.append(what)

    @property
    def _seconds_for_tools(self) -> float:
        return max(CLOSE_SECONDS, self.assignment.limits.finish_seconds)

    @property
    def _seconds_for_hooks(self) -> float:
        code = self.workshop.code
        return code.session_end_seconds if isinstance(code, EntrypointCode) else SESSION_END_SECONDS

    async def _tell_if_long(self, ending: Ending, session: AgentSession[Any] | None) -> None:
        await asyncio.sleep(FINISHING_SECONDS)
        if session is not None and self._customer_hears:
            await until_silent(session)  # what it still says cannot be interrupted
        most = self._seconds_for_tools + ENTRYPOINT_SECONDS + 2 * self._seconds_for_hooks + 4 * CLOSE_SECONDS
        self.on_finishing(ending, most)
        await self._leave_room()

    async def _leave_room(self) -> None:
        async with self._leaving:
            await within(asyncio.timeout(self.haste.time_for(DISCONNECT_SECONDS)), self.room.disconnect(), "leaving")

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
        text = fill_in_words(self.assignment.profile.goodbye, self.assignment, find_voice(session) is not None)
        if not text:
            return
        # What it was saying ends; a tool that it runs may go on.
        await within(asyncio.timeout(INTERRUPT_SECONDS), session.interrupt(force=True), "falling silent")
        speech = say_words(session, text, "Say goodbye to the customer", self._find_spoken(text), whole=True)
        if speech is None:
            return
        said = asyncio.ensure_future(speech.wait_for_playout())
        begun_by = time.monotonic() + GOODBYE_BEGIN_SECONDS
        while not said.done() and self._customer_hears:
            if session.agent_state != "speaking" and time.monotonic() > begun_by:
                log.warning("the goodbye is not said: it has no sound yet", extra={"seconds": GOODBYE_BEGIN_SECONDS})
                break
            await asyncio.wait({said}, timeout=_PACE_SECONDS)
        said.cancel()

    async def _apologize(self, session: AgentSession[Any] | None) -> None:
        await tell_customer(self.room, EndReason.ERROR.value, APOLOGY)
        pcm = self._find_spoken(APOLOGY) or await self._speak_live(session) or recorded_apology()
        await speak(self.room, pcm)

    async def _speak_live(self, session: AgentSession[Any] | None) -> bytes | None:
        """Returns the apology in the agent's own voice, or None when that is what has failed."""
        voice = find_voice(session) if session is not None else None
        if voice is None or "text-to-speech" in self.trouble:
            return None
        try:
            async with asyncio.timeout(3):
                frame = await voice.synthesize(APOLOGY).collect()
        except Exception as error:
            log.warning("the apology could not be synthesized", extra={"error": error})
            return None
        return bytes(frame.data) if frame.sample_rate == 24_000 and frame.num_channels == 1 else None

    def _find_spoken(self, text: str) -> bytes | None:
        return find_spoken(text, self.workshop.spoken, self.provider, self.assignment.profile)

    async def _write_end(self, ending: Ending, over_at: datetime) -> Ending:
        if self.facts.joined_at is None:
            return ending
        self.write_rest()
        end = SpooledEnd(reason=ending.reason.value, ended_at=over_at, usage=clean(ending.usage))
        if not await self.conversation.finish(end, self.haste.time_for(FLUSH_SECONDS, kept=0)):
            items = self.conversation.unwritten
            log.warning("the database does not have all of the conversation yet", extra={"items": items})
        if not self.conversation.lost:
            return ending
        lost = f"items of the conversation that could not be written: {self.conversation.lost}"
        return replace(ending, message=f"{ending.message}; {lost}" if ending.message else lost)
