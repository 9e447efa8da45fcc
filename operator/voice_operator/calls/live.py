"""Tells what is known of the calls in progress, to whoever may forward a port to the operator's pod."""

from collections.abc import Callable
from typing import get_args

from aiohttp import web

from voice_operator.calls.links import Links
from voice_operator.calls.memory import Calls
from voicesession.live_calls import LIVE_CALLS, AgentState, LiveCall

# Code of a team's runs beside what tells an agent's state: any other word is none.
_STATES = frozenset(get_args(AgentState))


def list_live_calls(calls: Calls, links: Links) -> list[LiveCall]:
    """Returns the calls whose pods tell of them."""
    found = []
    for memory in calls:
        heartbeat = links.heartbeat_of(memory.uid)
        if heartbeat is None or memory.finished_at:
            continue
        state = heartbeat.agent_state
        told = {
            "name": memory.name,
            "agent_state": state if state in _STATES else None,
            "memory_bytes": heartbeat.memory_bytes,
            "answers_millis": list(calls.answers_of(memory.uid)),
        }
        found.append(LiveCall.model_validate(told))
    return found


def build_live_app(list_calls: Callable[[], list[LiveCall]]) -> web.Application:
    """Returns the application that serves them as JSON at /calls."""

    async def calls(_request: web.Request) -> web.Response:
        return web.Response(body=LIVE_CALLS.dump_json(list_calls(), by_alias=True), content_type="application/json")

    app = web.Application()
    app.add_routes([web.get("/calls", calls)])
    return app
