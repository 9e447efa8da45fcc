"""The agent that a profile alone describes, or an `Agent` class with the profile's models: rungs 0 and 1."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
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
from livekit.agents.llm import Tool, Toolset
from livekit.agents.voice.agent_session import SessionConnectOptions
from livekit.agents.voice.room_io import RoomOptions

from voice_agent.code_loader import AgentCode, ProfileCode
from voice_agent.mcp_tools import CallTools, McpShelf, has_client
from voice_agent.provider_models import PATIENCE, CallModels, ModelShelf
from voice_agent.spoken_cache import SpokenCache
from voice_agent.variables import build_instructions, fill_in_words
from voice_agent.voices import find_voice, say_words
from voicesession.assignment import Assignment, Greeting
from voicesession.models import AgentProfileSpec, Provider, TurnTaking

# How long the news of the joining has the event loop to itself. It mostly takes a tenth of it.
NEWS_SECONDS = 0.04

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProfileCall:
    """What the agent of one call is made of, and what it waits for."""

    assignment: Assignment
    code: ProfileCode | AgentCode
    provider: Provider
    shelf: ModelShelf
    spoken: SpokenCache
    mcp: McpShelf
    is_first_word: Callable[[], bool]  # asked when the session runs: nobody has said anything before
    announced: asyncio.Event  # LiveKit has told the customer of the agent
    customer_joined: asyncio.Event


async def run_profile_agent(context: JobContext, call: ProfileCall) -> None:
    """Starts the agent session in the context's room and greets the customer; returns while the conversation runs."""
    wanted = call.assignment.profile.mcp_servers
    tools = CallTools(call.mcp.find, wanted) if wanted else None
    try:
        session, agent = await _join(context, call, tools)
    except BaseException:
        if tools is not None:
            await tools.aclose()
        raise
    # The customer is named before it starts: for a moment it would listen to anyone else in the room.
    customer = call.assignment.participant_identity or NOT_GIVEN
    options = RoomOptions(close_on_disconnect=False, participant_identity=customer)
    await session.start(agent, room=context.room, room_options=options)
    await call.customer_joined.wait()
    if call.is_first_word():
        greet(session, agent, call)


async def _join(
    context: JobContext, call: ProfileCall, tools: CallTools | None
) -> tuple[AgentSession[dict[str, str]], Agent]:
    """Joins the room, and returns what is to start there."""
    # Tool servers are asked while the room is; but the client's import takes half a second of the core that joins.
    if tools is not None and has_client():
        tools.connect()
    if call.assignment.standby:
        session, agent = await _prepare(call, tools)
        await context.connect()
    else:
        # Preparing takes 40 ms of a core that the connection needs: begun beside it, it would only delay the joining.
        await context.connect()
        # Nor must it delay the news of it.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(NEWS_SECONDS):
                await call.announced.wait()
        session, agent = await _prepare(call, tools)
    return session, agent


async def _prepare(call: ProfileCall, tools: CallTools | None) -> tuple[AgentSession[dict[str, str]], Agent]:
    profile = call.assignment.profile
    models = call.shelf.build_models(call.provider, profile.models, profile.language)
    session = build_agent_session(models, call, [tools] if tools else [])
    agent = await build_agent(call.code, call.assignment)
    if tools is not None:
        tools.serve(session, agent)
    return session, agent


def build_agent_session(
    models: CallModels, call: ProfileCall, tools: list[Tool | Toolset]
) -> AgentSession[dict[str, str]]:
    """Returns the session that hears and speaks as the profile says, each of its agents with these tools."""
    profile = call.assignment.profile
    return AgentSession(
        stt=models.stt or NOT_GIVEN,
        llm=models.llm or NOT_GIVEN,
        tts=models.tts or NOT_GIVEN,
        vad=call.shelf.vad or NOT_GIVEN,
        tools=tools,
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


async def build_agent(code: ProfileCode | AgentCode, assignment: Assignment) -> Agent:
    """Returns the agent: the class's own, or one that knows only the profile's instructions."""
    instructions, told = build_instructions(assignment)
    if isinstance(code, AgentCode) and not code.takes_instructions:
        return code.agent_class()  # type: ignore[call-arg]  # made without arguments, as was seen when it was loaded
    make: Callable[..., Agent] = code.agent_class if isinstance(code, AgentCode) else Agent
    agent = make(instructions=instructions)
    if told is not None:
        known = agent.chat_ctx.copy()
        known.add_message(role="user", content=told)
        await agent.update_chat_ctx(known)
    return agent


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
    greeting = fill_in_words(call.assignment.profile.greeting, call.assignment, find_voice(session) is not None)
    if not greeting:
        return
    spoken = find_spoken(greeting, call.spoken, call.provider, call.assignment.profile)
    say_words(session, greeting, "Greet the customer", spoken)
