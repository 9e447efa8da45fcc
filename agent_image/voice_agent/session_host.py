"""Keeps LiveKit's session host shut: over it anyone in the room could read the agent's prompt and drive the agent.

livekit-agents (1.8.9, contract-tested) opens one with every job's first agent session, unless its `start` is told not
to. It answers each participant, the customer too, on the byte stream `lk.agent.session`: instructions, tools, the whole
chat context with the tools' results; it takes input in the customer's place, and sends every event to the room.
"""

import functools
import inspect
import logging
from typing import Any

from livekit.agents import AgentSession

log = logging.getLogger(__name__)


class SessionHostError(Exception):
    """This livekit-agents cannot be kept from opening a session host; the message is one line that says so."""


def keep_shut() -> None:
    """Has every `AgentSession.start` of this process open no session host. Call before the agent's code is loaded.

    Raises:
        SessionHostError: livekit-agents does not have the option, so that no call may be taken.
    """
    start: Any = AgentSession.start
    if "session_host" not in inspect.signature(start).parameters:
        raise SessionHostError("this livekit-agents has no session_host=, so anyone in a room might drive its agent")

    @functools.wraps(start)
    async def start_without_host(self: AgentSession[Any], *arguments: Any, **options: Any) -> Any:
        if options.get("session_host") is True:
            log.warning("session_host=True is not obeyed: anyone in the room could read and drive this agent")
        return await start(self, *arguments, **{**options, "session_host": False})

    AgentSession.start = start_without_host  # type: ignore[method-assign]
