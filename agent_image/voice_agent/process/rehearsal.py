"""Does once, while nobody waits, what a call's first seconds would otherwise do for the first time.

The first connection in a process starts WebRTC's machinery, the first request imports a HTTP backend, the first answer
builds the types it is parsed into: together 150 ms of a call's way into its room, and 100 ms of its first answer.
Nothing leaves the pod: the room is at a closed port, and the models answer from here.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterator

import httpx2
from livekit import rtc
from livekit.agents import Agent, AgentSession, ChatContext
from livekit.plugins import openai
from openai import AsyncClient

# Nothing listens there; an attempt fails at once.
_NOWHERE = "127.0.0.1:1"
_SECONDS = 10.0
_CHUNK = (
    '{"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": '
    '[{"index": 0, "delta": {"role": "assistant", "content": "Yes."}, "finish_reason": null}]}'
)

log = logging.getLogger(__name__)


async def rehearse() -> None:
    """Runs the rehearsal. A failure is logged: the call will do the same things, only later."""
    with _quiet("livekit"):
        try:
            async with asyncio.timeout(_SECONDS):
                await _rehearse_connection()
                await _rehearse_models()
        except Exception:
            log.exception("the rehearsal failed; the first call will be slower")


async def _rehearse_connection() -> None:
    with contextlib.suppress(rtc.ConnectError):
        await rtc.Room().connect(f"ws://{_NOWHERE}", "", rtc.RoomOptions(connect_timeout=1))
    with contextlib.suppress(httpx2.HTTPError):
        # Without the authorities' certificates, a megabyte: nothing is verified here.
        async with httpx2.AsyncClient(verify=False) as http:
            await http.get(f"http://{_NOWHERE}")


async def _rehearse_models() -> None:
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(_answer)) as http:
        client = AsyncClient(api_key="none", base_url="http://127.0.0.1/v1", max_retries=0, http_client=http)
        chat = openai.LLM(client=client)
        speech = openai.TTS(client=client, response_format="pcm")
        context = ChatContext.empty()
        context.add_message(role="user", content="Ready?")
        async for _ in chat.chat(chat_ctx=context):
            pass
        await speech.synthesize("Yes.").collect()
        session: AgentSession[None] = AgentSession(
            stt=openai.STT(client=client),
            llm=chat,
            tts=speech,
            turn_handling={"turn_detection": "vad"},
            session_close_transcript_timeout=0,
        )
        await session.start(Agent(instructions=""), room=rtc.Room())
        await session.aclose()


async def _answer(request: httpx2.Request) -> httpx2.Response:
    if request.url.path.endswith("/chat/completions"):
        text = f"data: {_CHUNK}\n\ndata: [DONE]\n\n"
        return httpx2.Response(200, text=text, headers={"Content-Type": "text/event-stream"})
    if request.url.path.endswith("/audio/speech"):
        return httpx2.Response(200, content=bytes(4800), headers={"Content-Type": "audio/pcm", "x-request-id": "1"})
    return httpx2.Response(200, json={"object": "list", "data": []})


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Keeps a logger silent: here, failing is what is wanted."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
