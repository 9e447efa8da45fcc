"""Keeps an agent whom nobody hears yet, or ever, from being mute for the rest of its call.

livekit-agents (1.8.9, contract-tested) lets the first words wait for the future of the customer's subscription. Whoever
interrupts them then, by typing or by being back in the room, cancels that future with them, and so all later words. A
client that only shows text never subscribes, and gets no text either: that is shown as it is spoken.
"""

import asyncio
import contextlib
import functools
from typing import Any

from livekit import rtc
from livekit.agents.job import DEFAULT_PARTICIPANT_KINDS
from livekit.agents.voice.room_io._output import _ParticipantAudioOutput

# A client that listens has subscribed within half a second of its coming; over the slowest of connections.
LISTEN_SECONDS = 5.0


def survive_interruption() -> None:
    """Has every agent session of this process wait for its customer's subscription in a way that can be repeated.

    It waits for a customer to come, but no longer than `LISTEN_SECONDS` for one who is there to listen.
    """
    capture_frame = _ParticipantAudioOutput.capture_frame

    @functools.wraps(capture_frame)
    async def capture_when_heard(self: Any, frame: rtc.AudioFrame) -> None:
        while not self.subscribed.done():
            present = _listeners(self._room)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LISTEN_SECONDS):
                    await asyncio.shield(self.subscribed)
            if present & _listeners(self._room) and not self.subscribed.done():
                self.subscribed.set_result(None)
        await capture_frame(self, frame)

    _ParticipantAudioOutput.capture_frame = capture_when_heard  # type: ignore[method-assign]


def _listeners(room: rtc.Room) -> set[str]:
    """Returns the sids of those in the room whom an agent may speak to."""
    return {each.sid for each in room.remote_participants.values() if each.kind in DEFAULT_PARTICIPANT_KINDS}
