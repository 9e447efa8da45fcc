"""What a call needs, built while the pod waits for one."""

from collections.abc import Callable
from dataclasses import dataclass

import av
from livekit.agents import JobProcess
from livekit.agents.utils import codecs

from voice_agent import older_turn_detector
from voice_agent.code_loader import EntrypointCode, LoadedCode, load_code, run_prewarm
from voice_agent.job_context import build_job_process
from voice_agent.livekit_inference import StandIn
from voice_agent.mcp_tools import McpShelf, import_client
from voice_agent.model_clients import ModelClients
from voice_agent.model_warmer import ModelWarmer
from voice_agent.provider_models import ModelShelf
from voice_agent.settings import AgentSettings
from voice_agent.spoken_cache import SpokenCache
from voice_agent.traces import Traces
from voicesession.assignment import Greeting
from voicesession.models import ModelChoices


@dataclass(frozen=True)
class Workshop:
    """What is ready before the call."""

    settings: AgentSettings
    code: LoadedCode
    process: JobProcess
    shelf: ModelShelf
    stand_in: StandIn
    spoken: SpokenCache
    warmer: ModelWarmer
    mcp: McpShelf
    traces: Traces


def build_workshop(settings: AgentSettings, on_secret: Callable[[str], None]) -> Workshop:
    """Loads the agent's code, runs its prewarm, and makes clients and caches. `on_secret` is told each key.

    Outside an event loop, as LiveKit's worker does: code may run one of its own.

    Raises:
        CodeLoadError: the agent's code cannot be used.
    """
    traces = Traces(settings.otel_exporter_otlp_endpoint)  # first: code may have spans of its own
    clients = ModelClients(settings.provider_keys_folder, on_secret)
    shelf = ModelShelf(settings.agent_providers, clients)
    if provider := shelf.default_provider():
        # Code that makes models in its module or its prewarm finds the pool's first provider.
        shelf.export(provider)
    stand_in = StandIn(shelf)
    if settings.agent_inference == "Pool":
        stand_in.install()
    older_turn_detector.install()
    mcp = McpShelf(settings.agent_mcp_servers, clients.read_secret)
    if mcp.servers:
        import_client()
    code = load_code(settings.agent_code)
    process = build_job_process()
    run_prewarm(code, process)
    shelf.warm_up(settings.agent_vad)
    if isinstance(code, EntrypointCode) or shelf.decodes_speech:
        # An entrypoint's own models may send speech as MP3: FFmpeg is not to be loaded in the middle of a call.
        _ = (codecs.AudioStreamDecoder, av.open)

    async def synthesize(greeting: Greeting) -> bytes:
        return await shelf.speak(shelf.provider(greeting.provider), ModelChoices(voice=greeting.voice), greeting.text)

    warmer = ModelWarmer(settings.agent_providers, shelf.ask_one_word)
    return Workshop(settings, code, process, shelf, stand_in, SpokenCache(synthesize), warmer, mcp, traces)
