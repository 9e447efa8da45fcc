"""Runs one call: joins, lets the agent speak, and ends it for one known reason."""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Coroutine
from typing import Any

from livekit import rtc
from livekit.agents import NOT_GIVEN, AgentSession
from livekit.agents.voice.events import EventTypes

from voice_agent import memory
from voice_agent.code_loader import AgentCode, EntrypointCode, LoadedCode, ProfileCode
from voice_agent.conversation_items import restore_items
from voice_agent.conversation_log import ConversationLog, ConversationStart, History
from voice_agent.drafts import Drafts, read_spoken
from voice_agent.endings import CallFacts, Ending, decide_end, next_deadline
from voice_agent.event_stream import EventStream
from voice_agent.farewell import JOIN_SECONDS, Farewell
from voice_agent.hand_over import HandOver
from voice_agent.handed_state import HandedState, merge_rows, read_state
from voice_agent.haste import Haste
from voice_agent.job_context import (
    CallContext,
    CallRoom,
    build_job_info,
    call_their_code,
    export_room,
    forget_recorded_events,
)
from voice_agent.measures import Measures
from voice_agent.opening import Resumption
from voice_agent.process.resident_memory import read_resident_bytes
from voice_agent.process.termination import write_termination_message
from voice_agent.profile_agent import ProfileCall, find_spoken, run_profile_agent
from voice_agent.provider_models import ProviderError
from voice_agent.recollection import Recollection, build_recollection
from voice_agent.room_watch import RoomWatch
from voice_agent.server_api import ServerApi
from voice_agent.session_books import SessionBooks
from voice_agent.session_watch import SessionWatch
from voice_agent.spoken_cache import build_frames
from voice_agent.standby import STANDBY_SECONDS, Standby
from voice_agent.text import clean_text
from voice_agent.text_refusals import TextRefusals
from voice_agent.trouble_words import TroubleWords, find_moment
from voice_agent.userdata import Userdata
from voice_agent.variables import fill_in_words
from voice_agent.voices import find_voice
from voice_agent.workshop import Workshop
from voice_telemetry.logs import hide_secrets
from voicesession import clock
from voicesession.assignment import (
    Assignment,
    CustomerKnown,
    EndRequest,
    Finishing,
    Heartbeat,
    Joined,
    ModelFailed,
    OtherAgent,
    Ready,
    RoomDeletionRequested,
    TakeOver,
)
from voicesession.models import EndReason, Provider
from voicesession.names import GROUP

HISTORY_SECONDS = 3.0
# Again, beside a standby's joining.
REREAD_SECONDS = 1.0
# Between two tries to read what could not be read.
LATE_SECONDS = 3.0
# For code that waits until what it saves is kept.
SAVE_SECONDS = 2.0
# For the rows of an agent that another one follows: whoever comes next reads them.
HANDED_ON_SECONDS = 1.0
# Of an agent session that is not the primary one.
_SIGNS_OF_LIFE: tuple[EventTypes, ...] = ("conversation_item_added", "agent_state_changed", "user_input_transcribed")
_LIVEKIT_AWAY = "LiveKit was lost and did not come back in time"

log = logging.getLogger(__name__)


class Call:
    """One call, from its assignment to its end."""

    def __init__(self, assignment: Assignment, provider: Provider, workshop: Workshop) -> None:
        """`provider` is the one that the assignment names."""
        self._assignment = assignment
        self._provider = provider
        self._workshop = workshop
        self._assigned_at = time.monotonic()
        self.events = EventStream(self._build_heartbeat)
        self.server_api = ServerApi(
            url=assignment.livekit_url,
            room=assignment.room,
            tell=self.events.emit_passing,
            on_delete_room=lambda: self.events.emit(RoomDeletionRequested(at=clock.now())),
        )
        self._facts = CallFacts()
        self._facts_changed = asyncio.Event()
        self._ending: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self._haste = Haste()
        self.is_finishing = False  # it is over for its customer, and work goes on
        self._can_join = True
        self.conversation = ConversationLog(
            workshop.settings.database_url.get_secret_value() if workshop.settings.database_url else None,
            build_start(assignment),
            on_superseded=lambda: self.end(
                Ending(EndReason.SUPERSEDED, "a later attempt has taken the conversation over")
            ),
        )
        self._drafts = Drafts(self.conversation, lambda: read_spoken(self._watch.session))
        self._books = SessionBooks(self.conversation, self._drafts)
        self._other_books: list[SessionBooks] = []
        self.measures = Measures(
            facts=self._facts,
            name_provider=lambda host, model: workshop.shelf.name_provider(host, model, provider),
            tell=self.events.emit_once,
        )
        self._watch = SessionWatch(
            provider=provider.name,
            facts=self._facts,
            on_activity=self._touch,
            on_end=self.end,
            on_failed_turn=lambda kind: self._trouble_words.apologize(
                voice_failed=kind == "tts_error", at_once=kind == "stt_error"
            ),
            is_apologizing=lambda: self._trouble_words.is_apologizing,
        )
        self._trouble_words = TroubleWords(
            facts=self._facts,
            moment=fill_in_words(find_moment(assignment.profile, provider, workshop.code), assignment, has_voice=True),
            apology=fill_in_words(assignment.profile.trouble.apology, assignment, provider.realtime is None),
            find_spoken=lambda text: find_spoken(text, workshop.spoken, provider, assignment.profile),
            speak=lambda text: workshop.shelf.speak(provider, assignment.profile.models, text),
            is_hearing=lambda: workshop.shelf.is_hearing,
        )
        self._standby = Standby(self._on_ready) if assignment.standby else None
        self._resumption: Resumption | None = None
        self._has_read = asyncio.Event()
        self._text_refusals = TextRefusals(self._start)
        self._room = CallRoom(
            assignment.room,
            self._on_joined,
            self._until_wanted if self._standby else None,
            assignment.profile.text_input,
            lambda *refused: self._text_refusals.tell(self._room, *refused),
            self._keep_typed,
        )
        self._knows_typed = assignment.attempt == 1
        self._room_watch = RoomWatch(
            room=self._room,
            facts=self._facts,
            customer_identity=assignment.participant_identity,
            read_agent_state=self._read_shown_state,
            start=self._start,
            on_change=self._facts_changed.set,
            on_other_agent=lambda identity: self.events.emit(OtherAgent(at=clock.now(), identity=identity)),
            on_customer_known=self._on_customer_known,
            on_end=self.end,
        )
        self._tasks: set[asyncio.Task[Any]] = set()
        health = workshop.shelf.health
        health.on_failure = lambda provider, part: self.events.emit(
            ModelFailed(at=clock.now(), provider=provider, part=part)
        )
        health.on_each_failure = self.measures.count_fallback
        for model in assignment.failing or []:
            health.pass_over(model.provider, model.part)
        self._hand_over = HandOver(
            facts=self._facts,
            conversation=self.conversation,
            events=self.events,
            read_session=lambda: self._watch.session,
            start=self._start,
        )

    @property
    def is_standby(self) -> bool:
        """Whether it is prepared, or being prepared, and has not been told to join."""
        return self._standby is not None and not self._standby.is_over

    @property
    def has_joined(self) -> bool:
        """Whether its agent has been in the room."""
        return self._facts.joined_at is not None

    def hand_over(self, patience: float) -> None:
        """Gives the call to the pod that stands by for it: in a quiet moment within `patience` seconds, or then."""
        self._hand_over.begin(patience)

    def take_over(self, request: TakeOver) -> None:
        """Lets a standby join; one that has is told what its predecessor heard late."""
        state = read_state(request.state)
        rows = state.rows
        self.conversation.adopt(rows)
        for name, value in state.memory.items():
            self.conversation.keep(name, value)
        if self._standby is not None and not self._standby.is_over:
            self._assigned_at = time.monotonic()
            self._standby.take_over(request)
            self._facts_changed.set()
        elif self._resumption is not None and rows:
            self._start(self._resumption.hear_late(restore_items(merge_rows([], rows))))

    @property
    def is_ending(self) -> bool:
        """Whether it is known why it ends, or did."""
        return self._ending.done()

    def end(self, ending: Ending) -> None:
        """Ends the call. The first reason holds; a shutdown also hastens an end that is going on."""
        if ending.reason is EndReason.SHUTDOWN:
            self._haste.begin()
        if not self._ending.done():
            self._ending.set_result(ending)

    def end_as_asked(self, request: EndRequest) -> None:
        """Ends the call. Of a customer who has left already that is the reason, whoever asks within their grace."""
        has_left = self._facts.customer_left_at is not None and request.reason is EndReason.ENDED_BY_REQUEST
        self.end(Ending(EndReason.PARTICIPANT_LEFT) if has_left else Ending(request.reason, request.message))

    async def run(self) -> Ending:
        """Holds the call; returns why it ended, when its books are written."""
        self._room_watch.attach()
        code = self._workshop.code
        # Before the connection, so that what the room starts runs in this context too.
        context = self._build_context()
        context.enter()
        self._workshop.stand_in.serve(self._provider, self._assignment.profile)
        if isinstance(code, EntrypointCode):
            self._workshop.shelf.export(self._provider)
            export_room(self._assignment.livekit_url, self._assignment.room_token)
        memory.begin(self._assignment.attempt, lambda value: self.conversation.save("saved", value, SAVE_SECONDS))
        resumption = self._resume() if self._assignment.attempt > 1 else None
        work = asyncio.create_task(self._run_agent(context, code, resumption), name="the agent's code")
        clocks = asyncio.create_task(self._watch_deadlines(), name="deadlines")
        clocks.add_done_callback(self._on_clocks_done)
        ending = await self._ending
        # What the agent's code says of its end may quote the customer.
        detail = None if ending.by_code else ending.message or None
        log.info("the call ends", extra={"reason": ending.reason.value, "detail": detail})
        clocks.cancel()
        self._trouble_words.stop()
        self._room_watch.leave()
        if ending.conversation_goes_on:
            # Somebody else is the agent, or will be: no word, no end, no goodbye to LiveKit, at which clients hang up.
            await self._hand_over.tell_late()
            if ending.reason is EndReason.SHUTDOWN:
                self._drafts.write()
            await self.conversation.finish(None, HANDED_ON_SECONDS)
            return ending
        return await self._build_farewell(context).take(ending, work, self._tasks)

    def _build_farewell(self, context: CallContext) -> Farewell:
        return Farewell(
            assignment=self._assignment,
            provider=self._provider,
            workshop=self._workshop,
            room=self._room,
            context=context,
            conversation=self.conversation,
            facts=self._facts,
            haste=self._haste,
            customer_joined=self._room_watch.customer_joined,
            can_join=self._can_join,
            trouble=self._watch.trouble,
            on_finishing=self._on_finishing,
            write_rest=self._write_rest,
        )

    def _on_finishing(self, ending: Ending, most_seconds: float) -> None:
        self.is_finishing = True
        # Should the process die of its work, its call has ended all the same.
        write_termination_message(self._workshop.settings.termination_log, ending.reason.value, ending.message)
        message = hide_secrets(clean_text(ending.message))
        self.events.emit(Finishing(at=clock.now(), reason=ending.reason, message=message, seconds=most_seconds))
        log.info("the call is over, and its agent works on", extra={"seconds": most_seconds})

    def _fail(self, message: str) -> None:
        self.end(Ending(EndReason.ERROR, message))

    # ---- the way in

    def _build_context(self) -> CallContext:
        assignment = self._assignment
        info = build_job_info(
            job_id=f"AJ_{assignment.session_id}_{assignment.attempt}",
            room=assignment.room,
            room_sid=assignment.room_sid or "",
            metadata=build_job_metadata(assignment),
            attributes=build_job_attributes(assignment),
            url=assignment.livekit_url,
            token=assignment.room_token,
            worker_id=self._workshop.settings.pod_name,
        )
        return CallContext(
            process=self._workshop.process,
            info=info,
            room=self._room,
            on_session=self._on_session,
            on_other_session=self._on_other_session,
            on_shutdown=self._on_shutdown,
            server_api=self.server_api,
        )

    def _on_shutdown(self, reason: str) -> None:
        self.end(Ending(EndReason.ENDED_BY_REQUEST, printable(reason), by_code=True))

    def _resume(self) -> Resumption:
        """Has the call's agent session go on with the conversation, which is read beside the connecting."""
        recalling = asyncio.create_task(self._recall(), name="conversation so far")
        resumption = Resumption(
            load=lambda: self._until_recalled(recalling),
            customer_joined=self._room_watch.customer_joined,
            on_started=lambda session: self._start(resumption.speak(session)),
            read_gap=self._read_gap,
            apologize=self._apologize,
        )
        resumption.attach()
        self._resumption = resumption
        return resumption

    def _read_gap(self) -> float:
        recovery = self._assignment.recovery
        return recovery.gap_seconds + time.monotonic() - self._assigned_at if recovery else 0.0

    def _apologize(self, session: AgentSession[Any]) -> None:
        text = self._assignment.profile.recovery.apology.strip()
        if text and find_voice(session) is not None:
            spoken = find_spoken(text, self._workshop.spoken, self._provider, self._assignment.profile)
            # Of no use to the model: what was left open before it still is.
            session.say(text, audio=build_frames(spoken) if spoken else NOT_GIVEN, add_to_chat_ctx=False)

    async def _until_recalled(self, recalling: asyncio.Task[Recollection]) -> Recollection:
        if self._standby is not None:
            # Also where code starts its agent session before it connects.
            await self._standby.wait_ready()
        return await asyncio.shield(recalling)

    async def _run_agent(self, context: CallContext, code: LoadedCode, resumption: Resumption | None) -> None:
        """Runs the code's entrypoint, or ours; what it raises ends the call."""
        try:
            if isinstance(code, EntrypointCode):
                await self._run_entrypoint(context, code)
            else:
                await run_profile_agent(context, self._build_profile_call(code, resumption))
        except rtc.ConnectError as error:
            self._can_join = False
            self._fail(f"LiveKit refused the agent or could not be reached: {error.message}")
        except ProviderError as error:
            self._fail(str(error))
        except Exception as error:
            log.exception("the agent's code failed")
            self._fail(f"the agent's code failed: {type(error).__name__}")

    def _build_profile_call(self, code: ProfileCode | AgentCode, resumption: Resumption | None) -> ProfileCall:
        return ProfileCall(
            assignment=self._assignment,
            code=code,
            provider=self._provider,
            shelf=self._workshop.shelf,
            spoken=self._workshop.spoken,
            mcp=self._workshop.mcp,
            is_first_word=lambda: resumption is None or resumption.is_first_word,
            announced=self._room_watch.announced,
            customer_joined=self._room_watch.customer_joined,
        )

    async def _run_entrypoint(self, context: CallContext, code: EntrypointCode) -> None:
        if self._assignment.attempt > 1:
            await self._has_read.wait()
        await call_their_code(code.entrypoint, context)
        if not self._room.isconnected() and not self._ending.done():
            self._fail("the agent's entrypoint returned without joining the room")

    async def _recall(self) -> Recollection:
        try:
            history = await self.conversation.load_history(HISTORY_SECONDS)
            known = self._remember(history, HandedState())
        finally:
            self._has_read.set()
        if self._standby is not None:
            # It has read ahead, and is told what has been said since; what was kept since, the database has.
            told = read_state((await self._standby.wait()).state)
            known = self._remember(await self.conversation.load_history(REREAD_SECONDS) or history, told)
        if known.is_lost and self._workshop.settings.database_url:
            self._start(self._recall_late())
        return known

    async def _recall_late(self) -> None:
        """Goes on asking for what could not be read: an outage ends, and then the agent knows it again."""
        history = None
        while history is None:
            await asyncio.sleep(LATE_SECONDS)
            history = await self.conversation.load_history(HISTORY_SECONDS)
        known = self._remember(history, HandedState())
        log.info("the conversation so far could be read at last", extra={"items": len(known.items)})
        if self._resumption is not None:
            await self._resumption.know_late(known.items)

    def _remember(self, history: History | None, told: HandedState) -> Recollection:
        if history is None and not told.rows:
            # An attempt that nobody heard has left nothing.
            return Recollection(is_lost=self._follows)
        rows = merge_rows(history.rows if history else [], told.rows)
        kept = {**(history.memory if history else {}), **told.memory}
        known = build_recollection(rows, kept, cut_off=told.cut_off)
        self._room.typed.know(known.typed)
        self._knows_typed = True
        self._books.know(known.items)
        memory.recall(known.items, known.saved)
        return known

    def _keep_typed(self, used: dict[str, int]) -> None:
        # Who does not know yet what was typed before would have less kept than there was.
        if self._knows_typed:
            self.conversation.keep("typed", used)

    # ---- standing by

    def _on_ready(self) -> None:
        self.events.emit(Ready(at=clock.now()))
        log.info("the pod stands by")

    async def _until_wanted(self, token: str) -> str:
        if self._standby is None:
            return token
        request = await self._standby.wait_ready()
        # The one that came with the assignment may be too old by now.
        return request.room_token or token

    # ---- the room

    def _on_joined(self) -> None:
        now = time.monotonic()
        joined = Joined(
            at=clock.now(),
            connect_millis=self._room.connect_millis,
            joined_millis=round(1000 * (now - self._assigned_at)),
            room_sid=self._assignment.room_sid,
        )
        self.events.emit(joined)
        log.info("the agent joined", extra={"milliseconds": joined.joined_millis})
        self._facts.joined_at = self._facts.last_activity_at = now
        self.measures.connect_millis = self._room.connect_millis
        self.measures.expects_first_word = not self._follows
        self.conversation.begin()
        self._start(self._drafts.keep_written())
        self._room_watch.joined()

    def _on_customer_known(self, identity: str) -> None:
        self.events.emit(CustomerKnown(at=clock.now(), participant_identity=identity))
        self.conversation.name_customer(identity)

    async def _watch_deadlines(self) -> None:
        """Ends the call when one of its clocks has run out, and when it cannot be joined."""
        while True:
            self._facts_changed.clear()
            now = time.monotonic()
            if reason := decide_end(self._facts, self._assignment.limits, now):
                self.end(Ending(reason, _LIVEKIT_AWAY if reason is EndReason.ROOM_CLOSED else ""))
                return
            deadline = next_deadline(self._facts, self._assignment.limits)
            if self.is_standby:
                deadline = self._assigned_at + STANDBY_SECONDS
                if deadline <= now:
                    self.end(Ending(EndReason.SUPERSEDED, "nobody has told the standby to take its call over"))
                    return
            elif self._facts.joined_at is None:
                deadline = self._assigned_at + JOIN_SECONDS
                if deadline <= now:
                    self._fail_to_join()
                    return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if deadline is None else deadline - now):
                    await self._facts_changed.wait()

    def _fail_to_join(self) -> None:
        # Code that is not even at it leaves the way free for an apology.
        self._can_join = not self._room.was_asked_for
        missing = "agent's code did not ask for" if self._can_join else "agent did not join"
        self._fail(f"the {missing} the room within {JOIN_SECONDS:.0f} s")

    def _on_clocks_done(self, clocks: asyncio.Task[None]) -> None:
        # Without its clocks a call would go on for ever.
        if not clocks.cancelled() and (error := clocks.exception()):
            log.error("the call's clocks failed", exc_info=error)
            self._fail(f"the call's clocks failed: {type(error).__name__}")

    # ---- the agent session

    def _on_session(self, session: AgentSession[Any]) -> None:
        """Listens to the primary agent session before it does anything."""
        self._books.attach(session)
        self.measures.attach(session)
        self._watch.attach(session)
        self._trouble_words.attach(session)
        self._room.chat.hold()
        session.on("agent_state_changed", lambda _: self._room.chat.release())
        if not isinstance(self._workshop.code, EntrypointCode):
            # An entrypoint may want them for its session report.
            session.on("agent_state_changed", lambda _: forget_recorded_events(session))
        if isinstance(self._workshop.code, AgentCode):
            userdata = Userdata(self.conversation, session)
            session.on("function_tools_executed", lambda _: userdata.keep())
            session.on("conversation_item_added", lambda _: userdata.keep())

    def _on_other_session(self, session: AgentSession[Any]) -> None:
        """Has what is said in another session than the primary one written too, and keep the call alive."""
        drafts = Drafts(self.conversation, lambda: read_spoken(session))
        books = SessionBooks(self.conversation, drafts, self._books.told)
        books.attach(session)
        self.measures.attach(session)
        self._other_books.append(books)
        self._start(drafts.keep_written())
        for event in _SIGNS_OF_LIFE:
            session.on(event, lambda _: self._touch())

    def _write_rest(self) -> None:
        for books in [self._books, *self._other_books]:
            books.write_rest()

    def _touch(self) -> None:
        self._facts.last_activity_at = time.monotonic()
        self._facts_changed.set()

    @property
    def _follows(self) -> bool:
        """Tells whether another agent had this call before."""
        return bool(self._assignment.recovery or self._assignment.standby)

    def _read_agent_state(self) -> str | None:
        session = self._watch.session
        return session.agent_state if session is not None else None

    def _read_shown_state(self) -> str | None:
        state = self._read_agent_state()
        if state not in {None, "initializing"} or not self._follows:
            return state
        # Who follows another agent does not begin anew, in the eyes of clients.
        return "listening" if self._standby else "thinking"

    def _build_heartbeat(self) -> Heartbeat:
        return Heartbeat(
            at=clock.now(),
            agent_state=self._read_agent_state(),
            unwritten_items=self.conversation.unwritten,
            memory_bytes=read_resident_bytes(),
        )

    def _start(self, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)

    def _on_task_done(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("a part of the call failed", exc_info=error)


def printable(text: str) -> str:
    """Returns the text with a space for every character that cannot be shown or, as half an emoji, sent."""
    return "".join(character if character.isprintable() else " " for character in text)


def build_start(assignment: Assignment) -> ConversationStart:
    """Returns what the conversation's first row says."""
    return ConversationStart(
        session_id=assignment.session_id,
        attempt=assignment.attempt,
        write_token=assignment.write_token,
        room_id=assignment.room,
        participant_id=assignment.participant_identity,
        llm_provider=assignment.provider,
        is_local_mode=assignment.local_mode,
        profile=assignment.profile_name,
        tenant=assignment.tenant,
    )


def build_job_metadata(assignment: Assignment) -> str:
    """Returns `ctx.job.metadata` as a client's dispatch has it: the variables, or nothing where there are none."""
    return json.dumps(assignment.variables) if assignment.variables else ""


def build_job_attributes(assignment: Assignment) -> dict[str, str]:
    """Returns `ctx.job.attributes`: what the call is, beside what was said about it."""
    values = {
        "profile": assignment.profile_name,
        "tenant": assignment.tenant,
        "session": assignment.session_id,
        "participant": assignment.participant_identity,
        "attempt": str(assignment.attempt),
    }
    return {f"{GROUP}/{name}": value for name, value in values.items() if value}
