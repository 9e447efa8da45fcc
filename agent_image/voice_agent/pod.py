"""What a pod is in: waiting for its one call, holding it, or done."""

import asyncio
import logging
from collections.abc import Callable

from voice_agent.apology import APOLOGY
from voice_agent.call import Call
from voice_agent.endings import Ending
from voice_agent.event_stream import EventStream
from voice_agent.process.termination import write_termination_message
from voice_agent.provider_models import ProviderError
from voice_agent.workshop import Workshop
from voice_telemetry.logs import hide_secrets
from voicesession import clock
from voicesession.assignment import Accepted, Assignment, CallEnded, EndRequest, Greeting, Preparation
from voicesession.models import EndReason

# Whoever follows the stream has this long to read its last line.
LAST_LINE_SECONDS = 1.5

log = logging.getLogger(__name__)


class AssignedElsewhereError(Exception):
    """This pod has another call."""


class NotWaitingError(Exception):
    """This pod's time has passed, or it has a call already."""


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

    @property
    def is_waiting(self) -> bool:
        """Whether an assignment would be taken."""
        return self._call is None

    @property
    def events(self) -> EventStream | None:
        """The stream of this pod's call, or None while it has none."""
        return self._call.events if self._call is not None else None

    def assign(self, assignment: Assignment) -> EventStream:
        """Takes the call, or finds that it has it already; returns its stream.

        Raises:
            AssignedElsewhereError: it has another one.
            NotWaitingError: its call has ended.
            ProviderError: the call's provider is none of its pool's.
        """
        if self._call is None:
            return self._take(assignment)
        if self._key != assignment.key():
            raise AssignedElsewhereError("this pod has another call")
        if self._ended:
            raise NotWaitingError("this pod's call has ended")
        return self._call.events

    def prepare(self, preparation: Preparation) -> None:
        """Synthesizes greetings, and an apology in each of their voices, while there is nothing else to do.

        Raises:
            NotWaitingError: it has a call.
        """
        if not self.is_waiting:
            raise NotWaitingError("this pod has a call")
        greetings = [self._with_voice(greeting) for greeting in preparation.greetings]
        apologies = [greeting.model_copy(update={"text": APOLOGY}) for greeting in greetings]
        self._workshop.spoken.prepare([*greetings, *apologies])

    def end(self, request: EndRequest) -> None:
        """Ends the call.

        Raises:
            NotWaitingError: there is none.
        """
        if self._call is None:
            raise NotWaitingError("this pod has no call")
        self._call.end(Ending(request.reason, request.message))

    def terminate(self) -> None:
        """Obeys a SIGTERM: goes at once without a call, and says goodbye with one."""
        if self._call is None:
            self._leave(0)
        else:
            self._call.end(Ending(EndReason.SHUTDOWN, "the pod was told to stop"))

    def _take(self, assignment: Assignment) -> EventStream:
        provider = self._workshop.shelf.provider(assignment.provider)
        self._workshop.spoken.stop()
        self._on_assigned(assignment)
        log.info("the call is taken")
        self._call = Call(assignment, provider, self._workshop)
        self._key = assignment.key()
        self._call.events.emit(Accepted(at=clock.now()))
        self._task = asyncio.create_task(self._hold(self._call), name="call")
        return self._call.events

    async def _hold(self, call: Call) -> None:
        code = 1
        try:
            await self._report(call, await call.run())
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
        message = hide_secrets(ending.message)
        self._write_message(ending.reason.value, message)
        call.events.emit(CallEnded(at=clock.now(), reason=ending.reason, message=message, usage=dict(ending.usage)))
        call.events.close()
        await call.events.wait_until_read(LAST_LINE_SECONDS)

    def _write_message(self, reason: str, message: str) -> None:
        write_termination_message(self._workshop.settings.termination_log, reason, message)

    def _with_voice(self, greeting: Greeting) -> Greeting:
        if greeting.voice is not None:
            return greeting
        try:
            provider = self._workshop.shelf.provider(greeting.provider)
        except ProviderError:
            return greeting
        return greeting.model_copy(update={"voice": provider.tts.voice if provider.tts else None})
