"""Tells a participant that what they typed is not read: a page by a data message, any other client in its chat."""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from livekit import rtc
from livekit.agents.types import TOPIC_CHAT

from voice_agent.haste import within
from voice_agent.text_budget import TextRefusal
from voicesession.names import DATA_TOPIC

# Whoever sends a flood is told of it now and then.
PAUSE_SECONDS = 2.0
_TELL_SECONDS = 5.0

log = logging.getLogger(__name__)


@dataclass
class TextRefusals:
    """The refusals of one call's texts. start: runs something for as long as the call goes on."""

    start: Callable[[Coroutine[Any, Any, None]], None]
    now: Callable[[], float] = time.monotonic
    _told_at: dict[str, float] = field(default_factory=dict)

    def tell(self, room: rtc.Room, identity: str, refusal: TextRefusal, words: str) -> None:
        """Tells this participant alone, in `words`, unless they were told of another just now."""
        now = self.now()
        told_at = self._told_at.get(identity)
        if told_at is not None and now - told_at < PAUSE_SECONDS:
            return
        self._told_at[identity] = now
        log.warning("what a participant typed is not read", extra={"reason": refusal.value})
        self.start(_tell(room.local_participant, identity, refusal, words))


async def _tell(agent: rtc.LocalParticipant, identity: str, refusal: TextRefusal, words: str) -> None:
    sending = _send(agent, identity, refusal, words)
    await within(asyncio.timeout(_TELL_SECONDS), sending, "telling of a text that is not read")


async def _send(agent: rtc.LocalParticipant, identity: str, refusal: TextRefusal, words: str) -> None:
    body = json.dumps({"type": "text-refused", "reason": refusal.value, "message": words})
    await agent.publish_data(body, reliable=True, destination_identities=[identity], topic=DATA_TOPIC)
    await agent.send_text(words, destination_identities=[identity], topic=TOPIC_CHAT)
