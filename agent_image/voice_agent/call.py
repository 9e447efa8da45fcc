"""Runs one call: joins, lets the agent speak, writes down what is said, and ends it for one known reason."""

import asyncio
import contextlib
import json
import logging
import math
import re
import time
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from livekit import rtc
from livekit.agents import (
    NOT_GIVEN,
    AgentSession,
    AgentStateChangedEvent,
    ChatMessage,
    CloseEvent,
    ConversationItemAddedEvent,
    ErrorEvent,
    FunctionToolsExecutedEvent,
    UserInputTranscribedEvent,
    UserStateChangedEvent,
)
from livekit.agents.job import DEFAULT_PARTICIPANT_KINDS
from livekit.agents.llm import ChatItem
from livekit.agents.types import ATTRIBUTE_AGENT_STATE
from livekit.agents.voice.events import CloseReason

from voice_agent.apology import APOLOGY, recorded_apology, speak, tell_customer
from voice_agent.code_loader import EntrypointCode, LoadedCode
from voice_agent.conversation_items import (
    build_latencies,
    build_rows,
    build_tool_rows,
    build_usage,
    count_usage,
    restore_items,
)
from voice_agent.conversation_log import ConversationEnd, ConversationLog, ConversationStart
from voice_agent.endings import CallFacts, Ending, decide_end, decide_room_end, next_deadline
from voice_agent.event_stream import EventStream
from voice_agent.job_context import (
    CallContext,
    CallRoom,
    build_job_info,
    call_their_code,
    forget_recorded_events,
    restore_history,
)
from voice_agent.profile_agent import ProfileCall, build_spoken_key, fill_in, run_profile_agent
from voice_agent.spoken_cache import build_frames
from voice_agent.workshop import Workshop
from voicesession.assignment import Assignment, Heartbeat, Joined, RoomDeletionRequested, Turn
from voicesession.models import EndReason, Provider

JOIN_SECONDS = 20.0
ANNOUNCE_SECONDS = 5.0
HISTORY_SECONDS = 3.0
GOODBYE_SECONDS = 6.0
APOLOGY_SECONDS = 12.0
CUSTOMER_SECONDS = 20.0
CLOSE_SECONDS = 4.0
CALLBACK_SECONDS = 5.0
ENTRYPOINT_SECONDS = 1.0
DISCONNECT_SECONDS = 3.0
FLUSH_SECONDS = 75.0
# Kubernetes kills a pod 15 s after it told it to stop.
SHUTDOWN_SECONDS = 12.0

# A provider that answers so will answer so again.
_HOPELESS = {401, 403, 404}
_PARTS = {
    "stt_error": "speech-to-text",
    "llm_error": "chat",
    "tts_error": "text-to-speech",
    "realtime_model_error": "realtime",
}

_log = logging.getLogger(__name__)


class Call:
    """One call, from its assignment to its end."""

    def __init__(self, assignment: Assignment, provider: Provider, workshop: Workshop) -> None:
        """`provider` is the one that the assignment names."""
        self._assignment = assignment
        self._provider = provider
        self._workshop = workshop
        self._assigned_at = time.monotonic()
        self.events = EventStream(self._build_heartbeat)
        self._facts = CallFacts()
        self._facts_changed = asyncio.Event()
        self._customer_identity = assignment.participant_identity
        self._announced = asyncio.Event()
        self._customer_joined = asyncio.Event()
        self._ending: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self._hurried = asyncio.Event()
        self._leave_by = math.inf
        self._cannot_join = False
        self._trouble = ""
        self._log = ConversationLog(
            workshop.settings.database_url.get_secret_value() if workshop.settings.database_url else None,
            build_start(assignment),
            on_superseded=lambda: self.end(EndReason.SUPERSEDED, "a later attempt has taken the conversation over"),
        )
        self._room = CallRoom(assignment.room, on_connected=self._on_joined)
        self._context: CallContext | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._question_latencies: dict[str, int] = {}
        self._usage_counted: dict[str, int] = {}

    def end(self, reason: EndReason, message: str = "", *, by_code: bool = False) -> None:
        """Ends the call. The first reason holds; a shutdown also hastens an end that is going on."""
        if reason is EndReason.SHUTDOWN:
            self._leave_by = min(self._leave_by, time.monotonic() + SHUTDOWN_SECONDS)
            self._hurried.set()
            self._log.hurry(SHUTDOWN_SECONDS)
        if not self._ending.done():
            self._ending.set_result(Ending(reason, message, by_code))

    async def run(self) -> Ending:
        """Holds the call; returns why it ended, when its books are written."""
        self._watch_room()
        code = self._workshop.code
        # Before the connection, so that what the room starts runs in this context too.
        context = self._context = self._build_context()
        context.enter()
        if isinstance(code, EntrypointCode):
            self._workshop.shelf.export(self._provider)
        work = asyncio.create_task(self._run_agent(context, code), name="the agent's code")
        watch = asyncio.create_task(self._watch_deadlines(), name="deadlines")
        watch.add_done_callback(self._on_watch_done)
        ending = await self._ending
        _log.info("the call ends: %s", ending.reason, extra={"detail": ending.message})
        watch.cancel()
        if ending.reason is EndReason.SUPERSEDED:
            # Somebody else is the agent now: no word, no row, no goodbye to LiveKit.
            return ending
        return await self._finish(context, work, ending)

    # ---- the way in

    def _build_context(self) -> CallContext:
        assignment = self._assignment
        info = build_job_info(
            job_id=f"AJ_{assignment.session_id}_{assignment.attempt}",
            room=assignment.room,
            room_sid=assignment.room_sid or "",
            metadata=build_job_metadata(assignment),
            url=assignment.livekit_url,
            token=assignment.room_token,
            worker_id=self._workshop.settings.pod_name,
        )
        return CallContext(
            process=self._workshop.process,
            info=info,
            room=self._room,
            on_session=self._watch_session,
            on_shutdown=lambda reason: self.end(EndReason.ENDED_BY_REQUEST, reason, by_code=True),
            on_delete_room=lambda: self.events.emit(RoomDeletionRequested(at=datetime.now(UTC))),
        )

    async def _run_agent(self, context: CallContext, code: LoadedCode) -> None:
        """Runs the code's entrypoint, or ours; what it raises ends the call."""
        try:
            if isinstance(code, EntrypointCode):
                await self._run_entrypoint(context, code)
            else:
                await run_profile_agent(
                    context,
                    ProfileCall(
                        assignment=self._assignment,
                        code=code,
                        provider=self._provider,
                        shelf=self._workshop.shelf,
                        spoken=self._workshop.spoken,
                        load_history=self._load_history,
                        announced=self._announced,
                        customer_joined=self._customer_joined,
                    ),
                )
        except rtc.ConnectError as error:
            self._cannot_join = True
            self.end(
                EndReason.ERROR, f"LiveKit refused the agent or could not be reached: {hide_tokens(error.message)}"
            )
        except Exception as error:
            _log.exception("the agent's code failed")
            self.end(EndReason.ERROR, f"the agent's code failed: {type(error).__name__}")

    async def _run_entrypoint(self, context: CallContext, code: EntrypointCode) -> None:
        await code.entrypoint(context)
        if not self._room.isconnected() and not self._ending.done():
            self.end(EndReason.ERROR, "the agent's entrypoint returned without joining the room")

    async def _load_history(self) -> Sequence[ChatItem]:
        if self._assignment.attempt == 1:
            return []
        rows = await self._log.load_history(HISTORY_SECONDS)
        if rows:
            age = (datetime.now(UTC) - rows[0]["created_at"]).total_seconds()
            self._facts.started_at = time.monotonic() - max(0.0, age)
            self._facts_changed.set()
        return restore_items(rows)

    async def _restore_entrypoint_history(self, session: AgentSession[Any]) -> None:
        if history := await self._load_history():
            await restore_history(session, history)

    # ---- the room

    def _watch_room(self) -> None:
        self._room.on("participant_connected", self._on_participant)
        self._room.on("participant_disconnected", self._on_participant_gone)
        self._room.on("disconnected", self._on_disconnected)

    def _on_joined(self) -> None:
        now = time.monotonic()
        self.events.emit(
            Joined(
                at=datetime.now(UTC),
                connect_millis=self._room.connect_millis,
                joined_millis=round(1000 * (now - self._assigned_at)),
                room_sid=self._assignment.room_sid,
            )
        )
        self._start(within(ANNOUNCE_SECONDS, self._announce(), "telling the room of the agent"))
        self._facts.joined_at = self._facts.last_activity_at = now
        self._log.begin()
        for participant in self._room.remote_participants.values():
            self._on_participant(participant)
        self._facts_changed.set()

    async def _announce(self) -> None:
        """Has LiveKit tell the customer of the agent now: of one that has done nothing yet it tells late."""
        await self._room.local_participant.set_attributes({ATTRIBUTE_AGENT_STATE: "initializing"})
        self._announced.set()

    def _is_customer(self, participant: rtc.RemoteParticipant) -> bool:
        if self._customer_identity is not None:
            return participant.identity == self._customer_identity
        return participant.kind in DEFAULT_PARTICIPANT_KINDS

    def _on_participant(self, participant: rtc.RemoteParticipant) -> None:
        if self._is_customer(participant):
            self._customer_identity = participant.identity
            self._facts.customer_came(time.monotonic())
            self._customer_joined.set()
            self._facts_changed.set()

    def _on_participant_gone(self, participant: rtc.RemoteParticipant) -> None:
        if participant.identity == self._customer_identity:
            self._facts.customer_left(time.monotonic(), participant.disconnect_reason)
            self._facts_changed.set()

    def _on_disconnected(self, reason: rtc.DisconnectReason.ValueType | None) -> None:
        ending = decide_room_end(reason)
        self.end(ending.reason, ending.message)

    async def _watch_deadlines(self) -> None:
        """Ends the call when one of its clocks has run out, and when it cannot be joined."""
        while True:
            self._facts_changed.clear()
            now = time.monotonic()
            if reason := decide_end(self._facts, self._assignment.limits, now):
                self.end(reason)
                return
            deadline = next_deadline(self._facts, self._assignment.limits)
            if self._facts.joined_at is None:
                deadline = self._assigned_at + JOIN_SECONDS
                if deadline <= now:
                    self._cannot_join = True
                    self.end(EndReason.ERROR, f"the agent did not join the room within {JOIN_SECONDS:.0f} s")
                    return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._facts_changed.wait(), None if deadline is None else deadline - now)

    def _on_watch_done(self, watch: asyncio.Task[None]) -> None:
        # Without its clocks a call would go on for ever.
        if not watch.cancelled() and (error := watch.exception()):
            _log.error("the call's clocks failed", exc_info=error)
            self.end(EndReason.ERROR, f"the call's clocks failed: {type(error).__name__}")

    # ---- the agent session

    def _watch_session(self, session: AgentSession[Any]) -> None:
        """Attaches to the primary agent session before it does anything."""
        session.on("conversation_item_added", self._on_item)
        session.on("function_tools_executed", self._on_tools)
        session.on("agent_state_changed", self._on_agent_state)
        session.on("user_state_changed", self._on_customer_state)
        session.on("user_input_transcribed", self._on_transcribed)
        session.on("error", self._on_error)
        session.on("close", self._on_close)

    def _on_item(self, event: ConversationItemAddedEvent) -> None:
        self._touch()
        rows = build_rows(event.item)
        if isinstance(event.item, ChatMessage):
            usage = self._usage_since_last(event.item)
            rows = [{**row, "usage": usage} if usage else row for row in rows]
            self._report_turn(event.item)
        self._log.append(rows)

    def _on_tools(self, event: FunctionToolsExecutedEvent) -> None:
        self._touch()
        self._log.append(build_tool_rows(event))

    def _on_agent_state(self, event: AgentStateChangedEvent) -> None:
        self._facts.agent_busy = event.new_state in {"thinking", "speaking"}
        self._touch()
        session = self._context.primary if self._context is not None else None
        if session is None:
            return
        if not isinstance(self._workshop.code, EntrypointCode):
            # An entrypoint may want them for its session report.
            forget_recorded_events(session)
        elif event.old_state == "initializing" and self._assignment.attempt > 1:
            self._start(self._restore_entrypoint_history(session))

    def _on_customer_state(self, event: UserStateChangedEvent) -> None:
        self._facts.customer_speaks = event.new_state == "speaking"
        if "speaking" in {event.new_state, event.old_state}:
            self._touch()

    def _on_transcribed(self, event: UserInputTranscribedEvent) -> None:
        if event.transcript.strip():
            self._touch()

    def _on_error(self, event: ErrorEvent) -> None:
        is_hopeless = find_status(event) in _HOPELESS
        if getattr(event.error, "recoverable", False) and not is_hopeless:
            return
        self._trouble = describe_trouble(event, self._provider.name)
        _log.error("%s", self._trouble)
        if is_hopeless:
            self.end(EndReason.ERROR, self._trouble)

    def _on_close(self, event: CloseEvent) -> None:
        if event.reason is CloseReason.ERROR:
            self.end(EndReason.ERROR, self._trouble or "the agent session failed")
        elif event.reason is CloseReason.PARTICIPANT_DISCONNECTED:
            self.end(EndReason.PARTICIPANT_LEFT)
        else:
            self.end(EndReason.ENDED_BY_REQUEST, "the agent's code ended the conversation", by_code=True)

    def _touch(self) -> None:
        self._facts.last_activity_at = time.monotonic()
        self._facts_changed.set()

    def _usage_since_last(self, message: ChatMessage) -> dict[str, int]:
        """Returns what the models were used for since the agent's last message; counted with its messages."""
        if message.role != "assistant" or self._context is None or self._context.primary is None:
            return {}
        counted = count_usage(self._context.primary)
        since = {name: count - self._usage_counted.get(name, 0) for name, count in counted.items()}
        self._usage_counted = counted
        return {name: count for name, count in since.items() if count > 0}

    def _report_turn(self, message: ChatMessage) -> None:
        latencies = build_latencies(message.metrics)
        if message.role == "user":
            self._question_latencies = latencies
        elif message.role == "assistant" and latencies:
            values = {**self._question_latencies, **latencies}
            self._question_latencies = {}
            self.events.emit(Turn.model_validate({"at": datetime.now(UTC), **values}))

    # ---- the way out

    async def _finish(self, context: CallContext, work: asyncio.Task[None], ending: Ending) -> Ending:
        """Says what is still to be said, and puts everything away; each step has its deadline."""
        session = context.primary
        if ending.wants_goodbye and self._customer_hears and session is not None:
            await within(self._time_for(GOODBYE_SECONDS), self._say_goodbye(session), "goodbye")
        if session is not None:
            await within(self._time_for(CLOSE_SECONDS), session.aclose(), "closing the agent session")
        usage = build_usage(session) if session is not None else {}
        if ending.reason is EndReason.ERROR and await self._customer_to_apologize_to(context):
            await within(self._time_for(APOLOGY_SECONDS), self._apologize(session), "apology")
        code = self._workshop.code
        if isinstance(code, EntrypointCode):
            # It may have something to do after its session; ours never has.
            await asyncio.wait({work}, timeout=self._time_for(ENTRYPOINT_SECONDS))
        work.cancel()
        await asyncio.wait({work, *self._tasks}, timeout=self._time_for(CLOSE_SECONDS))
        if isinstance(code, EntrypointCode) and code.on_session_end is not None:
            await within(
                self._time_for(CALLBACK_SECONDS), call_their_code(code.on_session_end, context), "on_session_end"
            )
        await within(self._time_for(DISCONNECT_SECONDS), self._room.disconnect(), "leaving the room")
        told = ending.message if ending.by_code else ending.reason.value
        await context.run_shutdown_callbacks(told, self._time_for(CALLBACK_SECONDS))
        ending = await self._write_end(replace(ending, usage=usage))
        await within(self._time_for(CLOSE_SECONDS), context.clean_up(), "cleaning up")
        return ending

    def _time_for(self, seconds: float) -> float:
        """Returns how long a step of the end may take: less when the pod is about to be killed."""
        return max(1.0, min(seconds, self._leave_by - time.monotonic()))

    @property
    def _customer_hears(self) -> bool:
        return self._facts.customer_present and self._room.isconnected()

    async def _customer_to_apologize_to(self, context: CallContext) -> bool:
        """Waits a while for a customer who is still to come; returns whether there is one to apologize to."""
        if self._cannot_join or self._facts.customer_left_at is not None:
            return False
        # Code that failed before it joined has left the customer alone in the room.
        await within(self._time_for(JOIN_SECONDS), context.connect(), "joining to apologize")
        waits = [asyncio.create_task(event.wait()) for event in (self._customer_joined, self._hurried)]
        timeout = min(CUSTOMER_SECONDS, self._assignment.limits.join_timeout_seconds)
        await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        return self._customer_hears

    async def _say_goodbye(self, session: AgentSession[Any]) -> None:
        profile = self._assignment.profile
        text = fill_in(profile.goodbye, self._assignment.variables).strip()
        if not text or session.tts is None:
            return
        await session.interrupt(force=True)
        pcm = self._find_spoken(text)
        speech = session.say(text, audio=build_frames(pcm) if pcm else NOT_GIVEN, allow_interruptions=False)
        await speech.wait_for_playout()

    async def _apologize(self, session: AgentSession[Any] | None) -> None:
        await tell_customer(self._room, EndReason.ERROR.value, APOLOGY)
        pcm = self._find_spoken(APOLOGY) or await self._speak_live(session) or recorded_apology()
        await speak(self._room, pcm)

    async def _speak_live(self, session: AgentSession[Any] | None) -> bytes | None:
        """Returns the apology in the agent's own voice, or None when that is what has failed."""
        if session is None or session.tts is None or "text-to-speech" in self._trouble:
            return None
        try:
            async with asyncio.timeout(3):
                frame = await session.tts.synthesize(APOLOGY).collect()
        except Exception as error:
            _log.warning("the apology could not be synthesized: %s", type(error).__name__)
            return None
        return bytes(frame.data) if frame.sample_rate == 24_000 and frame.num_channels == 1 else None

    def _find_spoken(self, text: str) -> bytes | None:
        key = build_spoken_key(text, self._provider, self._assignment.profile)
        return self._workshop.spoken.find(key) if key is not None else None

    async def _write_end(self, ending: Ending) -> Ending:
        if self._facts.joined_at is None:
            return ending
        end = ConversationEnd(ending.reason.value, datetime.now(UTC), ending.usage)
        if await self._log.finish(end, self._time_for(FLUSH_SECONDS)) or not self._log.unwritten:
            return ending
        lost = f"items of the conversation that could not be written: {self._log.unwritten}"
        return replace(ending, message=f"{ending.message}; {lost}" if ending.message else lost)

    def _build_heartbeat(self) -> Heartbeat:
        session = self._context.primary if self._context is not None else None
        return Heartbeat(
            at=datetime.now(UTC),
            agent_state=session.agent_state if session is not None else None,
            unwritten_items=self._log.unwritten,
        )

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def within(seconds: float, work: Any, what: str) -> None:
    """Awaits `work` for at most so long; what goes wrong with it is logged, and the end goes on."""
    try:
        async with asyncio.timeout(seconds):
            await work
    except TimeoutError:
        _log.warning("%s took longer than %.0f s and was given up", what, seconds)
    except Exception:
        _log.exception("%s failed", what)


def hide_tokens(text: str) -> str:
    """Returns the text without the JWTs in it: LiveKit quotes the one that it refuses."""
    return re.sub(r"eyJ[\w-]+\.[\w-]+\.[\w-]*", "***", text)


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
    """Returns `ctx.job.metadata`."""
    return json.dumps(
        {
            "variables": assignment.variables,
            "profile": assignment.profile_name,
            "tenant": assignment.tenant,
            "sessionId": assignment.session_id,
            "participantIdentity": assignment.participant_identity,
        }
    )


def describe_trouble(event: ErrorEvent, provider: str) -> str:
    """Returns which provider failed at what, and how; neither words nor keys."""
    part = _PARTS.get(getattr(event.error, "type", ""), "model")
    if status := find_status(event):
        return f"provider {provider!r} answered {status} to a {part} request"
    error = getattr(event.error, "error", event.error)
    return f"provider {provider!r} failed at a {part} request: {type(error).__name__}"


def find_status(event: ErrorEvent) -> int | None:
    """Returns the HTTP status with which the provider answered, or None where it did not get that far."""
    error = getattr(event.error, "error", event.error)
    # A realtime model's refused handshake is the cause of the error that is told.
    statuses = (getattr(error, "status_code", None), getattr(getattr(error, "__cause__", None), "status", None))
    return next((status for status in statuses if isinstance(status, int) and status > 0), None)
