"""Tells a call of the agent sessions that its code starts beside the first: for another participant, or a colleague.

livekit-agents (1.8.9, contract-tested) tells its job of the first one alone.
"""

import functools
from typing import Any

from livekit.agents import AgentSession, get_job_context

from voice_agent.job_context import CallContext


def tell_of_others() -> None:
    """Has every `AgentSession.start` of this process tell its call first. Call before the agent's code is loaded."""
    start: Any = AgentSession.start

    @functools.wraps(start)
    async def start_told(self: AgentSession[Any], *arguments: Any, **options: Any) -> Any:
        context = get_job_context(required=False)
        if isinstance(context, CallContext):
            context.meet(self)
        return await start(self, *arguments, **options)

    AgentSession.start = start_told  # type: ignore[method-assign]
