"""The peer: a plain livekit-agents worker as its own documentation writes it, with three idle processes."""

import os
import time

from livekit.agents import Agent, AgentServer, AgentSession, JobContext, JobProcess, cli
from livekit.plugins import openai, silero
from livekit.rtc import RoomOptions

# Its default refuses calls and keeps fewer processes while the machine is busy, and a benchmark's machine is.
server = AgentServer(num_idle_processes=int(os.environ.get("IDLE_PROCESSES", "3")), load_fnc=lambda: 0.0)


def prewarm(process: JobProcess) -> None:
    """Loads the VAD once a process, as LiveKit's starter does."""
    process.userdata["vad"] = silero.VAD.load()


server.setup_fnc = prewarm

DEFAULT_OPTIONS = RoomOptions()


def tell_of_join(context: JobContext) -> None:
    """Prints when `Room.connect` has returned, whoever calls it, and in which process."""
    connect = context.room.connect

    async def connect_and_tell(url: str, token: str, options: RoomOptions = DEFAULT_OPTIONS) -> None:
        await connect(url, token, options)
        print("joined", context.room.name, time.time(), os.getpid(), flush=True)

    context.room.connect = connect_and_tell  # type: ignore[method-assign]


@server.rtc_session()
async def entrypoint(context: JobContext) -> None:
    """Joins with the same models that our pods have."""
    tell_of_join(context)
    url = os.environ["MODELS_URL"]
    session: AgentSession[None] = AgentSession(
        stt=openai.STT(base_url=url, api_key="none"),
        llm=openai.LLM(base_url=url, api_key="none", model="partner"),
        tts=openai.TTS(base_url=url, api_key="none", response_format="pcm"),
        vad=context.proc.userdata["vad"],
        turn_handling={"turn_detection": "vad"},
    )
    await session.start(agent=Agent(instructions="You are a helpful voice assistant."), room=context.room)
    await context.connect()


if __name__ == "__main__":
    cli.run_app(server)
