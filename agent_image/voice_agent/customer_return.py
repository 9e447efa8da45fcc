"""Keeps a call's agent session open when its customer leaves: who comes back within the grace finds it as it was.

livekit-agents closes the session of a participant who disconnects, unless its `start` is told not to. Here the call's
clocks decide when a customer is gone for good, for every kind of code alike.
"""

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from livekit.agents import AgentSession, get_job_context
from livekit.agents.voice.room_io import RoomInputOptions, RoomOptions


def keep_sessions_open() -> None:
    """Has the primary `AgentSession.start` of this process close on no disconnect. Call before the code is loaded."""
    start: Any = AgentSession.start

    @functools.wraps(start)
    async def start_open(self: AgentSession[Any], *arguments: Any, **options: Any) -> Any:
        # Another session may be there for somebody else, whose leaving the call's clocks do not know.
        primary = getattr(get_job_context(required=False), "primary", self)
        is_primary = primary is None or primary is self
        return await start(self, *arguments, **({**options, **stay_open(options)} if is_primary else options))

    AgentSession.start = start_open  # type: ignore[method-assign]


def stay_open(options: Mapping[str, Any]) -> dict[str, RoomOptions | RoomInputOptions]:
    """Returns the room options to start with in place of those given, in the form in which they are given."""
    given = options.get("room_options")
    if isinstance(given, RoomOptions):
        return {"room_options": replace(given, close_on_disconnect=False)}
    legacy = options.get("room_input_options")
    if isinstance(legacy, RoomInputOptions):
        return {"room_input_options": replace(legacy, close_on_disconnect=False)}
    if options.get("room_output_options"):
        return {"room_input_options": RoomInputOptions(close_on_disconnect=False)}
    return {"room_options": RoomOptions(close_on_disconnect=False)}
