"""Lets something be said on the agent's track ahead of the words that the agent itself is waiting for.

What livekit-agents (1.8.9, contract-tested) has in line waits for its model, and all that comes later waits for it.
"""

import asyncio
import functools
from typing import Any
from weakref import WeakKeyDictionary

from livekit import rtc
from livekit.agents import AgentSession
from livekit.agents.voice.room_io._output import _ParticipantAudioOutput

from voice_agent.spoken_cache import build_frames

_turns: WeakKeyDictionary[_ParticipantAudioOutput, asyncio.Lock] = WeakKeyDictionary()


def take_turns() -> None:
    """Has every agent of this process wait with its words until what is said ahead of them is over."""
    capture_frame = _ParticipantAudioOutput.capture_frame

    @functools.wraps(capture_frame)
    async def capture_in_turn(self: Any, frame: rtc.AudioFrame) -> None:
        async with _turn(self):
            await capture_frame(self, frame)

    _ParticipantAudioOutput.capture_frame = capture_in_turn  # type: ignore[method-assign]


async def say_ahead(session: AgentSession[Any], pcm: bytes) -> None:
    """Says this, 24 kHz mono 16-bit samples, to whoever hears the agent; returns when it is said, but for 0.2 s."""
    output = session.output.audio if session.output.audio_enabled else None
    while output is not None and output.next_in_chain is not None:
        output = output.next_in_chain
    if not isinstance(output, _ParticipantAudioOutput) or not output.subscribed.done():
        return
    async with _turn(output):
        async for frame in build_frames(pcm):
            await output._audio_source.capture_frame(frame)  # noqa: SLF001


def _turn(output: _ParticipantAudioOutput) -> asyncio.Lock:
    return _turns.setdefault(output, asyncio.Lock())
