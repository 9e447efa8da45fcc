"""What a pod is in: waiting for its one call, holding it, or done."""

import asyncio
import logging
from collections.abc import Callable

from voice_agent.apology import APOLOGY
from voice_agent.call import Call
from voice_agent.conversation_log import ConversationLog
from voice_agent.endings import Ending
from voice_agent.event_stream import EventStream
from voice_agent.haste import Haste
from voice_agent.process.termination import write_termination_message
from voice_agent.provider_models import ProviderError
from voice_agent.text import clean, clean_text
from voice_agent.workshop import Workshop
from voice_telemetry.logs import hide_secrets
from voicesession import clock
from voicesession.assignment import (
    Accepted,
    ApiAnswer,
    Assignment,
    CallEnded,
    EndRequest,
    Greeting,
    HandOverRequest,
    Preparation,
    TakeOver,
)
from voicesession.models import EndReason
from voicesession.spool import Spool

# Whoever follows the stream has this long to read its last line.
LAST_LINE_SECONDS = 1.5
# For the answer to whoever has asked an unassigned pod to end.
ANSWER_SECONDS = 0.2
# How long a pod whose call has ended keeps what the database has not got: over an outage of 5 minutes.
HOLD_SECONDS = 330.0

# Of the time that Kubernetes gives a pod to stop, what a call's end may take: see `haste`.
LEAVE_SECONDS = 15.0

log = logging.getLogger(__name__)


class AssignedElsewhereError(Exception):
    """This pod has another call."""


class NotWaitingError(Exception):
    """This pod's time has passed, or it has a call already."""


class NotInCallError(Exception):
    """This pod has no call that could change hands."""


class Pod:
    """One pod's life: it takes exactly one assignment."""

    def __init__(
        self, workshop: Workshop, leave: Callable[[int], None], on_assigned: Callable[[Assignment], None]
    ) -> None:
        """`leave` ends the process; `on_assigned` is told of the call, so that logs can name it and hide its tokens."""
        self._workshop = workshop
        self._leave = leave
        self._on_assigned = on_assigned
        self._call: Call | None = None
        self._key: tuple[str, int] | None = None
        self._task: asyncio.Task[None] | None = None
        self._ended = False
        self._told_to_stop = False
        self._spool_kept = asyncio.Event()
        self._haste = Haste()

    @property
    def is_waiting(self) -> bool:
        """Whether an assignment would be taken."""
        return self._call is None and not self._ended

    @property
    def events(self) -> EventStream | None:
        """The stream of this pod's call, or None while it has none."""
        return self._call.events if self._call is not None else None

    def assign(self, assignment: Assignment) -> EventStream:
        """Takes the call, or finds that it has it already; returns its stream.

        Raises:
            AssignedElsewhereError: it has another one.
            NotWaitingError: its call has ended, maybe before it came.
            ProviderError: the call's provider is none of its pool's.
        """
        if self._key not in {None, assignment.key()}:
            raise AssignedElsewhereError("this pod has another call")
        if self._ended:
            raise NotWaitingError("this pod's call has ended")
        return self._call.events if self._call is not None else self._take(assignment)

    def prepare(self, preparation: Preparation) -> None:
        """Synthesizes greetings, and an apology in each of their voices, while there is nothing else to do.

        Raises:
            NotWaitingError: it has a call.
        """
        if not self.is_waiting:
            raise NotWaitingError("this pod has a call, or is ending")
        greetings = [self._with_voice(greeting) for greeting in preparation.greetings]
        apologies = [greeting.model_copy(update={"text": APOLOGY}) for greeting in greetings]
        self._workshop.spoken.prepare([*greetings, *apologies])

    def end(self, request: EndRequest) -> None:
        """Ends the call, also one that is still to come: then the process ends now. Again changes nothing."""
        if self._call is not None:
            self._call.end_as_asked(request)
            if self._told_to_stop:
                self._leave_call(self._call)
        elif not self._ended:
            # Who asks has claimed this pod; the assignment may be on its way, and has come too late.
            self._ended = True
            self._write_message(request.reason.value, request.message)
            asyncio.get_running_loop().call_later(ANSWER_SECONDS, self._leave, 0)

    def hand_over(self, request: HandOverRequest) -> None:
        """Gives the call to the pod that stands by for it. Again changes nothing.

        Raises:
            NotInCallError: it has none, or is not in its room.
        """
        if self._call is None or self._ended or not self._call.has_joined:
            raise NotInCallError("this pod is in no call")
        self._call.hand_over(request.patience_seconds)

    def take_over(self, request: TakeOver) -> None:
        """Joins the room of the call that it stands by for; then takes in what its predecessor has heard late.

        Raises:
            NotInCallError: it has no call, or the call has ended.
        """
        if self._call is None or self._ended:
            raise NotInCallError("this pod stands by for no call")
        self._call.take_over(request)

    def take_api_answer(self, answer: ApiAnswer) -> None:
        """Gives the operator's answer to the code that has asked.

        Raises:
            NotInCallError: it has no call.
        """
        if self._call is None:
            raise NotInCallError("this pod is in no call")
        self._call.server_api.take(answer)

    @property
    def holds_call(self) -> bool:
        """Whether it has a call that goes on."""
        return self._call is not None and not self._ended

    @property
    def spool(self) -> Spool | None:
        """What the database has not got of the call that has ended; None while it runs, and where there is nothing."""
        return self._call.conversation.spool() if self._call is not None and self._ended else None

    def let_go_of_spool(self) -> None:
        """Ends the process, whose spool is kept by somebody else now.

        Raises:
            NotWaitingError: its call has not ended.
        """
        if not self._ended:
            raise NotWaitingError("this pod's call has not ended")
        self._spool_kept.set()

    def terminate(self) -> None:
        """Obeys a SIGTERM: goes at once without a call; with one, when that ends or another pod has taken it over.

        If neither happens, it leaves the call, to be recovered, while there is time to write what was said.
        """
        self._told_to_stop = True
        if self._call is None or self._call.is_standby:
            self._leave(0)
            return
        # One that ends is given 15 s by whoever told it so. One that works on after its call has what its pod is given.
        is_leaving = self._call.is_ending and not self._call.is_finishing
        left = 0.0 if is_leaving else self._workshop.settings.agent_grace_seconds - LEAVE_SECONDS
        if left > 0:
            log.info("the pod was told to stop: its call may go on for a while", extra={"seconds": left})
        asyncio.get_running_loop().call_later(max(0.0, left), self._leave_call, self._call)

    def _leave_call(self, call: Call) -> None:
        self._haste.begin()
        call.end(Ending(EndReason.SHUTDOWN, "the pod was told to stop"))

    def _take(self, assignment: Assignment) -> EventStream:
        provider = self._workshop.shelf.provider(assignment.provider)
        self._workshop.spoken.stop()
        self._workshop.warmer.stop()
        self._on_assigned(assignment)
        self._workshop.traces.enter(assignment.traceparent)
        log.info("the call is taken")
        self._call = Call(assignment, provider, self._workshop)
        self._key = assignment.key()
        self._call.events.emit(Accepted(at=clock.now()))
        self._task = asyncio.create_task(self._hold(self._call), name="call")
        return self._call.events

    async def _hold(self, call: Call) -> None:
        code = 1
        try:
            ending = await call.run()
            await self._report(call, ending)
            await self._hold_spool(call.conversation, ending)
            await self._workshop.traces.flush()
            code = 0
        except Exception as error:
            # Not an end but a crash: leave without a goodbye, so that a successor can take the room over.
            log.exception("the call crashed")
            self._write_message("crash", f"the agent runtime failed: {type(error).__name__}")
        finally:
            # Whatever happens: a pod never outlives its call.
            self._leave(code)

    async def _report(self, call: Call, ending: Ending) -> None:
        self._ended = True
        written = call.conversation.end_written
        self._write_message(ending.reason.value, ending.message, end_written=written)
        call.measures.tell_rest()
        call.events.emit(
            CallEnded(
                at=clock.now(),
                reason=ending.reason,
                message=hide_secrets(clean_text(ending.message)),
                usage=clean(ending.usage),
                end_written=written,
                cut_short=list(ending.cut_short),
            )
        )
        call.events.close()
        await call.events.wait_until_read(LAST_LINE_SECONDS)

    async def _hold_spool(self, conversation: ConversationLog, ending: Ending) -> None:
        """Keeps what the database has not got until it has, or until somebody else keeps it; not for ever."""
        if conversation.spool() is None:
            return
        waits = [asyncio.create_task(each) for each in (conversation.until_written(), self._spool_kept.wait())]
        either = asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        await self._haste.within(HOLD_SECONDS, either, "keeping what is unwritten")
        for wait in waits:
            wait.cancel()
        if conversation.spool() is not None and not self._spool_kept.is_set():
            log.error("a part of the conversation is lost", extra={"items": conversation.unwritten})
        self._write_message(ending.reason.value, ending.message, end_written=conversation.end_written)

    def _write_message(self, reason: str, message: str, *, end_written: bool = False) -> None:
        file = self._workshop.settings.termination_log
        write_termination_message(file, reason, message, end_written=end_written)

    def _with_voice(self, greeting: Greeting) -> Greeting:
        if greeting.voice is not None:
            return greeting
        try:
            provider = self._workshop.shelf.provider(greeting.provider)
        except ProviderError:
            return greeting
        return greeting.model_copy(update={"voice": provider.tts.voice if provider.tts else None})
