"""Gives a call in progress to another pod: in a quiet moment, and not before there is somebody to give it to."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from livekit.agents import AgentSession, ChatMessage
from livekit.agents.llm import RealtimeModel

from voice_agent.conversation_items import build_rows
from voice_agent.conversation_log import ConversationLog
from voice_agent.endings import CallFacts
from voice_agent.event_stream import EventStream
from voice_agent.handed_state import build_state
from voice_agent.haste import within
from voice_agent.quiet import is_idle, until_quiet
from voicesession import clock
from voicesession.assignment import HandedOver, HeardLate, Resumed

# A successor joins within 0.2 s of the hand-over. Whoever speaks to no agent for longer than this had better have the
# old one back.
SUCCESSOR_SECONDS = 4.0
INTERRUPT_SECONDS = 1.0
# From a customer's last sound to the transcript of it, on a busy machine.
TRANSCRIPT_SECONDS = 2.0
# Enough silence for the detector to call the last sound an end.
_SILENCE_SECONDS = 1.2

log = logging.getLogger(__name__)


@dataclass
class HandOver:
    """One call's way to another pod.

    read_session: the primary agent session, once there is one. start: runs something for as long as the call goes on.
    """

    facts: CallFacts
    conversation: ConversationLog
    events: EventStream
    read_session: Callable[[], AgentSession[Any] | None]
    start: Callable[[Coroutine[Any, Any, None]], None]
    _is_running: bool = False
    _hush: "Hush | None" = None
    _handed: int = field(default=0)  # how many rows there were when it handed over

    def begin(self, patience: float) -> None:
        """Hands the call over at the next quiet moment, after `patience` seconds in any; again changes nothing."""
        if not self._is_running:
            self._is_running = True
            self.start(self._hand_over(patience))

    async def _hand_over(self, patience: float) -> None:
        try:
            session = self.read_session()
            quiet = await until_quiet(session, self.facts, patience)
            self._hush = Hush(session)
            cut_off = await self._hush.begin()
            self._handed = self.conversation.taken
            state = build_state(self.conversation.recent(), self.conversation.kept, cut_off=cut_off)
            self.events.emit(HandedOver(at=clock.now(), quiet=quiet, state=state.to_wire()))
            log.info("the call is handed over", extra={"quiet": quiet})
            # Until its successor joins: LiveKit puts this agent out then, and the call ends here.
            await asyncio.sleep(SUCCESSOR_SECONDS)
            log.warning("no successor has come: the agent goes on with its call")
            self._hush.end(spoke=self._has_spoken())
            self._hush = None
            self.events.emit(Resumed(at=clock.now()))
        finally:
            self._is_running = False

    async def tell_late(self) -> None:
        """Tells what the customer said after the hand-over, when the successor has the room."""
        if self._hush is None:
            return
        step = self._hush.gather(spoke=self._has_spoken())
        await within(asyncio.timeout(TRANSCRIPT_SECONDS + 1), step, "hearing the customer out")
        self.conversation.append(self._hush.build_rows())
        if rows := self.conversation.recent(since=self._handed):
            self.events.emit(HeardLate(at=clock.now(), state=build_state(rows).to_wire()))

    def _has_spoken(self) -> bool:
        return self.facts.customer_speaks or self.facts.turn_open_since is not None


class Hush:
    """An agent session that listens on and answers nothing, until it is told otherwise."""

    def __init__(self, session: AgentSession[Any] | None) -> None:
        """Changes nothing yet."""
        self._session = session
        self._typed: list[ChatMessage] = []
        self._turn_detection: Any = None
        self._on_text: Any = None

    @property
    def _is_realtime(self) -> bool:
        return self._session is not None and isinstance(self._session.llm, RealtimeModel)

    async def begin(self) -> bool:
        """Falls silent; returns whether the agent was in the middle of a sentence."""
        session = self._session
        if session is None:
            return False
        was_speaking = session.current_speech is not None
        if self._is_realtime:
            session.input.set_audio_enabled(False)  # the model itself decides when to answer
        else:
            self._turn_detection = session.turn_detection
            session.update_options(turn_detection="manual")
        room_io = session._room_io  # noqa: SLF001 - the property raises where there is none
        if room_io is not None:
            self._on_text = room_io._text_input_cb  # noqa: SLF001
            room_io.register_text_input(self._note_text)
        if was_speaking:
            # What was heard of the sentence becomes an item.
            await within(asyncio.timeout(INTERRUPT_SECONDS), session.interrupt(force=True), "falling silent")
        return was_speaking

    def end(self, *, spoke: bool) -> None:
        """Takes the conversation up again, and answers what was said meanwhile. `spoke`: as for `gather`."""
        session = self._session
        if session is None:
            return
        if session._room_io is not None:  # noqa: SLF001
            session._room_io.register_text_input(self._on_text)  # noqa: SLF001
        if self._is_realtime:
            session.input.set_audio_enabled(True)
        else:
            session.update_options(turn_detection=self._turn_detection)
            if spoke:
                session.commit_user_turn()
        for message in self._typed:
            session.generate_reply(user_input=message.text_content or "")
        self._typed.clear()

    async def gather(self, *, spoke: bool) -> None:
        """Makes an item of what the customer has begun to say. `spoke`: they have begun to."""
        if self._session is None or self._is_realtime or not spoke:
            return
        # So silence is put behind what was heard: the room, and its sound, is the successor's now.
        self._session.input.set_audio_enabled(False)
        turn = self._session.commit_user_turn(
            transcript_timeout=TRANSCRIPT_SECONDS, stt_flush_duration=_SILENCE_SECONDS, skip_reply=True
        )
        if await turn:
            await is_idle(self._session)

    def build_rows(self) -> list[dict[str, Any]]:
        """Returns the rows of what the customer has typed since, which is no item of the session's."""
        return [row for message in self._typed for row in build_rows(message)]

    async def _note_text(self, _session: AgentSession[Any], event: Any) -> None:
        self._typed.append(ChatMessage(role="user", content=[event.text]))
