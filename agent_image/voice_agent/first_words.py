"""Keeps an agent that is interrupted before anybody hears it from being mute for the rest of its call.

livekit-agents (1.8.9, contract-tested) lets the first words wait for the future of the customer's subscription. Whoever
interrupts them then, by typing or by being back in the room, cancels that future with them, and so all later words.
"""

import asyncio
import functools
from typing import Any

from livekit import rtc
from livekit.agents.voice.room_io._output import _ParticipantAudioOutput


def survive_interruption() -> None:
    """Has every agent session of this process wait for its customer's subscription in a way that can be repeated."""
    capture_frame = _ParticipantAudioOutput.capture_frame

    @functools.wraps(capture_frame)
    async def capture_when_heard(self: Any, frame: rtc.AudioFrame) -> None:
        await asyncio.shield(self.subscribed)
        await capture_frame(self, frame)

    _ParticipantAudioOutput.capture_frame = capture_when_heard  # type: ignore[method-assign]
