"""A tiny OpenAI for tests: speech, transcripts, chat, realtime, embeddings; answers as told, notes what it is asked."""

import asyncio
import base64
import json
import re
import struct
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from local_models.audio import CONTENT_TYPES, Encoding, encode
from testing.odd_server import Reply, send
from testing.sound import build_murmur
from testing.waiting import eventually
from testing.web_server import serving

SECONDS_PER_CHARACTER = 0.02
RIGHT_KEY = "sk-the-right-key-of-this-test"
# What it tells when it is asked for a long story: some twelve seconds.
STORY = " ".join(f"And on day {day} of the long story nothing happened at all." for day in range(1, 11))
_EMBEDDING_SIZE = 1536
_NAME = re.compile(r"my name is (\w+)", re.IGNORECASE)
_TOOL = re.compile(r"please use (\w+) with (\{.*\})")


@dataclass
class FakeOpenAI:
    """What it is told, and what it was asked."""

    # Told: statuses by part ("chat", "speech", "transcriptions", "realtime"), texts to hear, seconds before speech and
    # before a transcript.
    statuses: dict[str, int] = field(default_factory=dict)
    transcripts: deque[str] = field(default_factory=deque)
    speech_pause: float = 0.0
    stalls: set[str] = field(default_factory=set)  # parts of which nothing comes as long as they are here
    transcription_pause: float = 0.0
    # By part, what is answered in turn, the last of it again and again; to a tool's result as ever.
    odd: dict[str, list[Reply]] = field(default_factory=dict)
    required_key: str | None = None
    # Asked.
    headers: list[dict[str, str]] = field(default_factory=list)
    spoken: list[str] = field(default_factory=list)
    chats: list[dict[str, Any]] = field(default_factory=list)
    realtime_events: list[dict[str, Any]] = field(default_factory=list)
    port: int = 0
    _closing: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def base_url(self) -> str:
        """What clients are given."""
        return f"http://127.0.0.1:{self.port}/v1"

    def close(self) -> None:
        """Answers that stand still come to their end."""
        self._closing.set()

    def build_app(self) -> web.Application:
        """Returns the application."""
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/embeddings", self._embeddings)
        app.router.add_post("/v1/audio/speech", self._speech)
        app.router.add_post("/v1/audio/transcriptions", self._transcriptions)
        app.router.add_get("/v1/realtime", self._realtime)
        return app

    def _refusal(self, request: web.Request, part: str) -> web.Response | None:
        self.headers.append(dict(request.headers))
        status = self.statuses.get(part, 200)
        if self.required_key and request.headers.get("Authorization") != f"Bearer {self.required_key}":
            status = 401
        if status == 200:
            return None
        error = {
            "message": f"refused, as told; your request was {request.headers.get('Authorization')}",
            "type": "test",
        }
        return web.json_response({"error": error}, status=status)

    def _odd_reply(self, part: str) -> Reply | None:
        replies = self.odd.get(part)
        if not replies:
            return None
        return replies.pop(0) if len(replies) > 1 else replies[0]

    async def _models(self, request: web.Request) -> web.Response:
        return self._refusal(request, "models") or web.json_response({"object": "list", "data": []})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.chats.append(body)
        if refusal := self._refusal(request, "chat"):
            return refusal
        await eventually(lambda: "chat" not in self.stalls, 300)
        if body["messages"][-1]["role"] != "tool" and (reply := self._odd_reply("chat")):
            return await send(reply, request, self._closing)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for delta, reason in build_answer(body):
            await _send_chunk(response, {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})
        usage = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
        await _send_chunk(response, {"choices": [], "usage": usage})
        await response.write(b"data: [DONE]\n\n")
        return response

    async def _embeddings(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
        # All texts are alike to it.
        vector: Any = [1.0] * _EMBEDDING_SIZE
        if body.get("encoding_format") == "base64":
            vector = base64.b64encode(struct.pack(f"<{_EMBEDDING_SIZE}f", *vector)).decode()
        data = [{"object": "embedding", "index": index, "embedding": vector} for index in range(len(texts))]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return self._refusal(request, "embeddings") or web.json_response(
            {"object": "list", "model": body["model"], "data": data, "usage": usage}
        )

    async def _speech(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.spoken.append(body["input"])
        if refusal := self._refusal(request, "speech"):
            return refusal
        if reply := self._odd_reply("speech"):
            return await send(reply, request, self._closing)
        await asyncio.sleep(self.speech_pause)  # noqa: TID251 - as told
        pcm = build_murmur(len(body["input"]) * SECONDS_PER_CHARACTER)
        # As OpenAI's own: what names no format is MP3.
        encoding: Encoding = "mp3" if body.get("response_format", "mp3") == "mp3" else "pcm"
        return web.Response(
            body=encode(pcm, encoding), content_type=CONTENT_TYPES[encoding], headers={"x-request-id": "1"}
        )

    async def _transcriptions(self, request: web.Request) -> web.StreamResponse:
        await request.post()
        await asyncio.sleep(self.transcription_pause)  # noqa: TID251 - as told
        if refusal := self._refusal(request, "transcriptions"):
            return refusal
        if reply := self._odd_reply("transcriptions"):
            return await send(reply, request, self._closing)
        return web.json_response({"text": self.transcripts.popleft() if self.transcripts else ""})

    async def _realtime(self, request: web.Request) -> web.StreamResponse:
        if refusal := self._refusal(request, "realtime"):
            return refusal
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await RealtimeConversation(socket, self.realtime_events).hold()
        return socket


class RealtimeConversation:
    """One conversation over the realtime WebSocket: answers every `response.create` by the same words."""

    ANSWER = "This is the realtime model."

    def __init__(self, socket: web.WebSocketResponse, heard: list[dict[str, Any]]) -> None:
        """`heard` gets every event of the client's but its audio."""
        self._socket = socket
        self._heard = heard
        self._count = 0

    async def hold(self) -> None:
        """Talks until the client goes."""
        await self._send("session.created", session={"id": "sess_1", "type": "realtime", "object": "realtime.session"})
        async for message in self._socket:
            if message.type != WSMsgType.TEXT:
                break
            event = json.loads(message.data)
            if event["type"] != "input_audio_buffer.append":
                self._heard.append(event)
            await self._obey(event)

    async def _obey(self, event: dict[str, Any]) -> None:
        if event["type"] == "session.update":
            await self._send("session.updated", session={"id": "sess_1", **event["session"]})
        elif event["type"] == "conversation.item.create":
            previous = event.get("previous_item_id")
            await self._send("conversation.item.added", item=event["item"], previous_item_id=previous)
        elif event["type"] == "response.create":
            await self._respond(event)

    async def _respond(self, event: dict[str, Any]) -> None:
        self._count += 1
        response, item = f"resp_{self._count}", f"item_realtime_{self._count}"
        where = {"response_id": response, "item_id": item, "output_index": 0, "content_index": 0}
        metadata = (event.get("response") or {}).get("metadata")
        shape: dict[str, Any] = {"id": response, "object": "realtime.response", "output": [], "metadata": metadata}
        await self._send("response.created", response={**shape, "status": "in_progress"})
        message = {"id": item, "type": "message", "role": "assistant", "status": "in_progress", "content": []}
        await self._send("response.output_item.added", response_id=response, output_index=0, item=message)
        await self._send("response.content_part.added", **where, part={"type": "audio", "transcript": ""})
        await self._send("response.output_audio_transcript.delta", **where, delta=self.ANSWER)
        audio = base64.b64encode(build_murmur(0.6)).decode()
        await self._send("response.output_audio.delta", **where, delta=audio)
        await self._send("response.output_audio.done", **where)
        await self._send("response.output_audio_transcript.done", **where, transcript=self.ANSWER)
        done = {**message, "status": "completed", "content": [{"type": "output_audio", "transcript": self.ANSWER}]}
        await self._send("response.output_item.done", response_id=response, output_index=0, item=done)
        usage = {"total_tokens": 12, "input_tokens": 7, "output_tokens": 5}
        await self._send("response.done", response={**shape, "status": "completed", "output": [done], "usage": usage})

    async def _send(self, kind: str, **fields: Any) -> None:
        await self._socket.send_json({"type": kind, "event_id": f"event_{id(fields)}", **fields})


@asynccontextmanager
async def running_fake_openai() -> AsyncIterator[FakeOpenAI]:
    """Serves on a free port of loopback."""
    fake = FakeOpenAI()
    async with serving(fake.build_app()) as fake.port:
        try:
            yield fake
        finally:
            fake.close()


def build_answer(body: dict[str, Any]) -> list[tuple[dict[str, Any], str | None]]:
    """Returns the deltas of the answer: to a tool's result, or to what the customer asks for; else an echo.

    It has a tool called, tells a long story, and knows the customer's name from the messages, as a model does.
    """
    last = body["messages"][-1]
    if last["role"] == "tool":
        return [({"role": "assistant", "content": f"The tool says: {last['content']}"}, None), ({}, "stop")]
    text = str(last["content"])
    offered = {tool["function"]["name"] for tool in body.get("tools", [])}
    found = _TOOL.search(text)
    if found and found[1] in offered:
        function = {"name": found[1], "arguments": found[2]}
        call = {"index": 0, "id": f"call_{len(body['messages'])}", "type": "function", "function": function}
        return [({"role": "assistant", "tool_calls": [call]}, None), ({}, "tool_calls")]
    if "tell me a long story" in text:
        return [({"role": "assistant", "content": STORY}, None), ({}, "stop")]
    if "what is my name" in text.lower():
        return [({"role": "assistant", "content": _tell_name(body["messages"])}, None), ({}, "stop")]
    return [({"role": "assistant", "content": "You said: "}, None), ({"content": text + "."}, None), ({}, "stop")]


def _tell_name(messages: list[dict[str, Any]]) -> str:
    told = [_NAME.search(str(message["content"])) for message in messages if message["role"] == "user"]
    names = [found[1] for found in told if found]
    return f"Your name is {names[-1]}." if names else "You have not told me your name yet."


async def _send_chunk(response: web.StreamResponse, chunk: dict[str, Any]) -> None:
    whole = {"id": "chat-1", "object": "chat.completion.chunk", "created": 1, "model": "fake", **chunk}
    await response.write(f"data: {json.dumps(whole)}\n\n".encode())
