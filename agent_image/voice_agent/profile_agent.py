"""The agent that a profile alone describes, or an `Agent` class with the profile's models: rungs 0 and 1."""

import asyncio
import contextlib
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from livekit.agents import (
    NOT_GIVEN,
    Agent,
    AgentSession,
    JobContext,
    TurnHandlingOptions,
    inference,
)
from livekit.agents.voice.agent_session import SessionConnectOptions
from livekit.agents.voice.room_io import RoomOptions

from voice_agent.code_loader import AgentCode, ProfileCode
from voice_agent.provider_models import PATIENCE, CallModels, ModelShelf
from voice_agent.spoken_cache import SpokenCache
from voice_agent.voices import say_words
from voicesession.assignment import Assignment, Greeting
from voicesession.models import AgentProfileSpec, McpServer, Provider, TurnTaking

# How long the news of the joining has the event loop to itself. It mostly takes a tenth of it.
NEWS_SECONDS = 0.04
_MCP_SECONDS = 15.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProfileCall:
    """What the agent of one call is made of, and what it waits for."""

    assignment: Assignment
    code: ProfileCode | AgentCode
    provider: Provider
    shelf: ModelShelf
    spoken: SpokenCache
    is_first_word: Callable[[], bool]  # asked when the session runs: nobody has said anything before
    announced: asyncio.Event  # LiveKit has told the customer of the agent
    customer_joined: asyncio.Event


async def run_profile_agent(context: JobContext, call: ProfileCall) -> None:
    """Starts the agent session in the context's room and greets the customer; returns while the conversation runs."""
    if call.assignment.standby:
        session, agent = _prepare(call)
        await context.connect()
    else:
        # Preparing takes 40 ms of a core that the connection needs: begun beside it, it would only delay the joining.
        await context.connect()
        # Nor must it delay the news of it.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(NEWS_SECONDS):
                await call.announced.wait()
        session, agent = _prepare(call)
    # The customer is named before it starts: for a moment it would listen to anyone else in the room.
    customer = call.assignment.participant_identity or NOT_GIVEN
    options = RoomOptions(close_on_disconnect=False, participant_identity=customer)
    await session.start(agent, room=context.room, room_options=options)
    await call.customer_joined.wait()
    if call.is_first_word():
        greet(session, agent, call)
    await add_mcp_tools(session.current_agent, call.assignment.profile.mcp_servers)


def _prepare(call: ProfileCall) -> tuple[AgentSession[dict[str, str]], Agent]:
    profile = call.assignment.profile
    models = call.shelf.build_models(call.provider, profile.models, profile.language)
    return build_agent_session(models, call), build_agent(call.code, profile, call.assignment.variables)


def build_agent_session(models: CallModels, call: ProfileCall) -> AgentSession[dict[str, str]]:
    """Returns the session that hears and speaks as the profile says."""
    profile = call.assignment.profile
    return AgentSession(
        stt=models.stt or NOT_GIVEN,
        llm=models.llm or NOT_GIVEN,
        tts=models.tts or NOT_GIVEN,
        vad=call.shelf.vad or NOT_GIVEN,
        turn_handling=build_turn_handling(profile.turn_taking, is_realtime=models.is_realtime),
        userdata=dict(call.assignment.variables),
        conn_options=SessionConnectOptions(
            stt_conn_options=PATIENCE,
            llm_conn_options=PATIENCE,
            tts_conn_options=PATIENCE,
            max_unrecoverable_errors=1,
        ),
        # The idle limit is ours.
        user_away_timeout=None,
    )


def build_turn_handling(turns: TurnTaking, *, is_realtime: bool = False) -> TurnHandlingOptions:
    """Returns the profile's turn-taking in livekit-agents' terms, whose default detector would cost 243 MB."""
    detection: Any = "vad"
    if is_realtime:
        detection = "realtime_llm"
    elif turns.detection == "turn-detector":
        detection = inference.TurnDetector()
    return TurnHandlingOptions(
        turn_detection=detection,
        endpointing={
            "mode": "dynamic" if turns.dynamic_endpointing else "fixed",
            "min_delay": turns.min_endpointing_millis / 1000,
            "max_delay": turns.max_endpointing_millis / 1000,
        },
        interruption={
            "enabled": turns.allow_interruptions,
            "mode": "vad",
            "min_duration": turns.min_interruption_millis / 1000,
        },
        # The silence that ends a turn is time enough to think and to speak ahead; what comes of it may be thrown away.
        preemptive_generation={"enabled": True, "preemptive_tts": True},
    )


def build_agent(code: ProfileCode | AgentCode, profile: AgentProfileSpec, variables: Mapping[str, str]) -> Agent:
    """Returns the agent: the class's own, or one that knows only the profile's instructions."""
    instructions = fill_in(profile.instructions, variables)
    if isinstance(code, ProfileCode):
        return Agent(instructions=instructions)
    make: Callable[..., Agent] = code.agent_class
    return make(instructions=instructions) if code.takes_instructions else make()


def fill_in(text: str, variables: Mapping[str, str]) -> str:
    """Returns the text with each `{name}` replaced by the call's variable of that name, or by nothing."""
    return re.sub(r"\{([A-Za-z_]\w*)\}", lambda match: variables.get(match[1], ""), text)


def build_spoken_key(text: str, provider: Provider, profile: AgentProfileSpec) -> Greeting | None:
    """Returns under what a prepared text is found, or None where the profile chooses another model."""
    if provider.tts is None or (profile.models.tts or provider.tts.model) != provider.tts.model:
        return None
    return Greeting(provider=provider.name, voice=profile.models.voice or provider.tts.voice, text=text)


def find_spoken(text: str, spoken: SpokenCache, provider: Provider, profile: AgentProfileSpec) -> bytes | None:
    """Returns the prepared speech for a text of a call's, if there is any."""
    key = build_spoken_key(text, provider, profile)
    return spoken.find(key) if key is not None else None


def greet(session: AgentSession[Any], agent: Agent, call: ProfileCall) -> None:
    """Says the profile's greeting, if the agent does not say one of its own."""
    if type(agent).on_enter is not Agent.on_enter:
        return
    greeting = fill_in(call.assignment.profile.greeting, call.assignment.variables).strip()
    if not greeting:
        return
    spoken = find_spoken(greeting, call.spoken, call.provider, call.assignment.profile)
    say_words(session, greeting, "Greet the customer", spoken)


async def add_mcp_tools(agent: Agent, servers: Sequence[McpServer]) -> None:
    """Gives the running agent the tools of its MCP servers. A server that fails is logged, and the call goes on."""
    if not servers:
        return
    # Imported only where a profile asks for it, off the event loop: half a second and 20 MB.
    mcp = await asyncio.to_thread(_import_mcp)
    for server in servers:
        transport = "sse" if server.url.rstrip("/").endswith("/sse") else "streamable_http"
        toolset = mcp.MCPToolset(id=server.name, mcp_server=mcp.MCPServerHTTP(server.url, transport_type=transport))
        try:
            async with asyncio.timeout(_MCP_SECONDS):
                await toolset.setup()
                await agent.update_tools([*agent.tools, toolset])
        except Exception:
            log.exception("the tools of an MCP server are missing", extra={"server": server.name})


def _import_mcp() -> Any:
    from livekit.agents.llm import mcp  # noqa: PLC0415

    return mcp
