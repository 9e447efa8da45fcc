"""How an agent session speaks given words: by its own voice, its current agent's, or that of a realtime model."""

import asyncio
from typing import Any

from livekit.agents import NOT_GIVEN, AgentSession, AgentStateChangedEvent
from livekit.agents.tts import TTS
from livekit.agents.utils import is_given
from livekit.agents.voice import SpeechHandle

from voice_agent.spoken_cache import build_frames


def find_voice(session: AgentSession[Any]) -> TTS[Any] | None:
    """Returns the text-to-speech that speaks now, which may be the current agent's own; None: there is none."""
    own = _own_voice(session)
    return own if own is not None else session.tts


def say_words(
    session: AgentSession[Any], text: str, purpose: str, spoken: bytes | None, *, whole: bool = False
) -> SpeechHandle | None:
    """Has the session say the text; returns None where it has nothing to say it with.

    `purpose`: what a realtime model is told to do by these words. `spoken`: the text in the session's own voice, where
    it is prepared. `whole`: the customer cannot interrupt it.
    """
    interruptions: Any = False if whole else NOT_GIVEN
    own = _own_voice(session)
    if own is not None or session.tts is not None:
        audio = build_frames(spoken) if spoken and own is None else NOT_GIVEN
        return session.say(text, audio=audio, allow_interruptions=interruptions)
    if session.llm is None:
        return None
    instructions = f"{purpose} with exactly these words: {text}"
    return session.generate_reply(instructions=instructions, tool_choice="none", allow_interruptions=interruptions)


async def until_silent(session: AgentSession[Any]) -> None:
    """Waits until the agent does not speak."""
    silent = asyncio.Event()

    def note(event: AgentStateChangedEvent) -> None:
        if event.new_state != "speaking":
            silent.set()

    session.on("agent_state_changed", note)
    try:
        if session.agent_state == "speaking":
            await silent.wait()
    finally:
        session.off("agent_state_changed", note)


def _own_voice(session: AgentSession[Any]) -> TTS[Any] | None:
    try:
        own = session.current_agent.tts
    except RuntimeError:  # it does not run
        return None
    return own if is_given(own) and own is not None else None
