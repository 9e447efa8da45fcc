"""What the customer hears while a model keeps them waiting, and after one has failed: never nothing."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from livekit.agents import NOT_GIVEN, AgentSession, AgentStateChangedEvent, UserStateChangedEvent

from voice_agent.apology import recorded_apology
from voice_agent.code_loader import EntrypointCode, LoadedCode
from voice_agent.endings import CallFacts
from voice_agent.moments import say_ahead
from voice_agent.quiet import until_quiet
from voice_agent.spoken_cache import build_frames
from voice_agent.voices import find_voice
from voicesession.models import AgentProfileSpec, Provider
from voicesession.one_moment import choose_moment

# After the customer's last word, and after each time that it was said.
MOMENT_SECONDS = 2.5
# For words that nobody has prepared; later, they would come instead of the answer.
SPEAK_SECONDS = 2.0
# In one turn: a tool may take minutes.
_MOST_MOMENTS = 3
# A turn that has failed while the customer went on speaking is theirs first.
_PATIENCE_SECONDS = 1.5

log = logging.getLogger(__name__)


def find_moment(profile: AgentProfileSpec, provider: Provider, code: LoadedCode) -> str:
    """Returns what a customer who waits is told; nothing where it cannot be spoken ahead of the agent's own words.

    An entrypoint's words are its own, unless the profile gives these.
    """
    if provider.tts is None:
        return ""
    return profile.trouble.moment or "" if isinstance(code, EntrypointCode) else choose_moment(profile)


@dataclass
class TroubleWords:
    """One call's. `moment` and `apology` are the profile's texts, nothing is said in place of an empty one.

    speak: returns a text as 24 kHz mono 16-bit samples, or raises whatever a model does.
    """

    facts: CallFacts
    moment: str
    apology: str
    find_spoken: Callable[[str], bytes | None]
    speak: Callable[[str], Awaitable[bytes]]
    is_hearing: Callable[[], bool]  # a transcription is on its way
    _waiting: asyncio.Task[None] | None = None
    _apologizing: asyncio.Task[None] | None = None
    _said: int = 0
    _spoken_moment: bytes | None = None
    _sessions: list[AgentSession[Any]] = field(default_factory=list)

    def attach(self, session: AgentSession[Any]) -> None:
        """Follows this session from now on."""
        self._sessions = [session]
        session.on("user_state_changed", self._on_customer_state)
        session.on("agent_state_changed", self._on_agent_state)

    @property
    def is_apologizing(self) -> bool:
        """Whether the apology is being said, or about to be: what fails meanwhile failed in the same turn."""
        return self._apologizing is not None and not self._apologizing.done()

    def apologize(self, *, voice_failed: bool, at_once: bool) -> None:
        """Apologizes for a turn that has failed for good, in a quiet moment or `at_once`."""
        self._stop_waiting()
        if self.apology and self._sessions and not self.is_apologizing:
            work = self._apologize(self._sessions[0], voice_failed=voice_failed, at_once=at_once)
            self._apologizing = asyncio.create_task(work, name="apology for a turn")

    def stop(self) -> None:
        """Says nothing any more: the call ends."""
        self._stop_waiting()
        if self._apologizing is not None:
            self._apologizing.cancel()

    async def _apologize(self, session: AgentSession[Any], *, voice_failed: bool, at_once: bool) -> None:
        if not at_once:
            await until_quiet(session, self.facts, _PATIENCE_SECONDS)
        spoken = self.find_spoken(self.apology)
        if spoken is None and (voice_failed or find_voice(session) is None):
            spoken = recorded_apology()
        try:
            # Of no use to the model: what was asked is still open.
            audio = build_frames(spoken) if spoken else NOT_GIVEN
            await session.say(self.apology, audio=audio, add_to_chat_ctx=False)
        except RuntimeError as error:
            log.warning("the apology could not be said", extra={"error": error})

    def _on_customer_state(self, event: UserStateChangedEvent) -> None:
        self._stop_waiting()
        self._said = 0
        if event.old_state == "speaking":
            self._start_waiting()

    def _on_agent_state(self, event: AgentStateChangedEvent) -> None:
        if event.new_state == "thinking":
            self._start_waiting()
        else:
            self._stop_waiting()

    def _start_waiting(self) -> None:
        if self.moment and (self._waiting is None or self._waiting.done()):
            self._waiting = asyncio.create_task(self._reassure(), name="one moment")

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    async def _reassure(self) -> None:
        (session,) = self._sessions
        while self._said < _MOST_MOMENTS:
            await asyncio.sleep(MOMENT_SECONDS)
            # Of a sound that was no word, nothing comes.
            if not self._is_awaited(session):
                return
            pcm = await self._speak_moment()
            if pcm is None or not self._is_awaited(session):
                return
            self._said += 1
            await say_ahead(session, pcm)

    def _is_awaited(self, session: AgentSession[Any]) -> bool:
        return session.agent_state == "thinking" or self.is_hearing()

    async def _speak_moment(self) -> bytes | None:
        """Returns the moment as samples: prepared, else spoken now; None where that fails."""
        self._spoken_moment = self._spoken_moment or self.find_spoken(self.moment)
        if self._spoken_moment is None:
            try:
                async with asyncio.timeout(SPEAK_SECONDS):
                    self._spoken_moment = await self.speak(self.moment)
            except Exception as error:
                # Whatever a provider does wrong: the turn is still to be answered.
                log.warning("a moment could not be spoken", extra={"error": type(error).__name__})
        return self._spoken_moment
