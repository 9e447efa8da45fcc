"""Finds the moment in which a call can change hands: nobody speaks, and nothing is on its way to being said."""

import asyncio
import logging
import time
from typing import Any

from livekit.agents import AgentSession

from voice_agent.endings import CallFacts

# Something may still come of what the customer has said: the longest silence within a turn, and its transcription. Of a
# sound that was no word nothing does.
TURN_SECONDS = 4.5
_PACE_SECONDS = 0.02

log = logging.getLogger(__name__)


def is_quiet(facts: CallFacts, now: float) -> bool:
    """Tells whether neither speaks, and the customer's last words are an item of the conversation."""
    is_open = facts.turn_open_since is not None and now < facts.turn_open_since + TURN_SECONDS
    return not (facts.customer_speaks or facts.agent_busy or is_open)


def may_have_words(facts: CallFacts, now: float) -> bool:
    """Tells whether the customer has said something, by the time they left, that may still become words."""
    open_since, at = facts.turn_open_since, facts.customer_left_at or now
    return facts.customer_speaks or (open_since is not None and at < open_since + TURN_SECONDS)


async def until_quiet(session: AgentSession[Any] | None, facts: CallFacts, patience: float) -> bool:
    """Waits for a quiet moment, at most `patience` seconds; returns whether this is one."""
    if session is None or not session.agent_state or session.agent_state == "initializing":
        return True  # it says nothing yet
    try:
        async with asyncio.timeout(patience):
            while True:
                if await is_idle(session) and is_quiet(facts, time.monotonic()):
                    return True
                await asyncio.sleep(_PACE_SECONDS)
    except TimeoutError:
        return False


async def is_idle(session: AgentSession[Any]) -> bool:
    """Waits until nothing is queued, thought or waited for, as livekit-agents knows it; False: ask again."""
    try:
        await session.wait_for_idle()
    except asyncio.CancelledError:
        # It waits for tasks that it cancels itself, as when the customer speaks on; that is none of our end.
        if (task := asyncio.current_task()) and task.cancelling():
            raise
        return False
    except Exception:  # between two of its agents, or as it closes
        log.debug("the agent session cannot be waited for just now", exc_info=True)
        return False
    return True
