"""Vendors' own protocols, as their livekit plugins speak them, before the tiny OpenAI of tests.

Deepgram and Gladia hear, Cartesia, ElevenLabs, Inworld and Rime speak, Gemini answers; Groq, xAI and Cerebras are asked
as OpenAI is.
Behind a company network's proxy they stand at the vendors' own addresses, so that unedited code finds them there.
"""

import base64
import json
from typing import Any

from aiohttp import WSMsgType, web

from local_models.audio import Encoding, encode
from testing.fake_openai import SECONDS_PER_CHARACTER, FakeOpenAI, build_answer
from testing.sound import AUDIBLE_RMS, build_murmur, rms

HOSTS = (
    "api.cartesia.ai",
    "api.cerebras.ai",
    "api.deepgram.com",
    "api.elevenlabs.io",
    "api.gladia.io",
    "api.groq.com",
    "api.inworld.ai",
    "api.openai.com",
    "api.x.ai",
    "generativelanguage.googleapis.com",
    "users.rime.ai",
)
# After so much silence somebody has spoken to the end.
PAUSE_SECONDS = 0.5
_RATE = 16_000
_GLADIA_SOCKET = "/v2/live/socket"


class Ears:
    """Hears 16 kHz samples: knows when something was said, and gets its words where the test has told them."""

    def __init__(self, fake: FakeOpenAI) -> None:
        """`fake` has the words."""
        self._fake = fake
        self._speaks = False
        self._silence = 0.0

    def hear(self, pcm: bytes) -> str:
        """Returns the words of what ends with these samples; nothing where nothing does."""
        if rms(pcm) >= AUDIBLE_RMS:
            self._speaks, self._silence = True, 0.0
            return ""
        self._silence += len(pcm) / 2 / _RATE
        if not self._speaks or self._silence < PAUSE_SECONDS:
            return ""
        self._speaks = False
        return self._fake.transcripts.popleft() if self._fake.transcripts else ""


class FakeVendors:
    """All of them as one application, since their paths differ."""

    def __init__(self, fake: FakeOpenAI) -> None:
        """`fake` is told and asked as ever."""
        self._fake = fake

    def build_app(self) -> web.Application:
        """Returns the application."""
        app = self._fake.build_app()
        app.add_subapp("/openai", self._fake.build_app())  # Groq's
        app.router.add_get("/v1/listen", self._hear_deepgram)
        app.router.add_get("/v2/listen", self._hear_deepgram_flux)
        app.router.add_post("/v2/live", self._begin_gladia)
        app.router.add_get(_GLADIA_SOCKET, self._hear_gladia)
        app.router.add_get("/stt/turns/websocket", self._hear_cartesia)
        app.router.add_get("/tts/websocket", self._speak_cartesia)
        app.router.add_get("/v1/text-to-speech/{voice}/multi-stream-input", self._speak_elevenlabs)
        app.router.add_get("/tts/v1/voice:streamBidirectional", self._speak_inworld)
        app.router.add_post("/v1/rime-tts", self._speak_rime)
        app.router.add_post("/{version}/models/{model}:streamGenerateContent", self._answer_gemini)
        return app

    async def _hear_deepgram(self, request: web.Request) -> web.WebSocketResponse:
        socket, ears = await _accept(request), Ears(self._fake)
        async for message in socket:
            if message.type is WSMsgType.BINARY and (words := ears.hear(message.data)):
                heard = {"transcript": words, "confidence": 1.0, "words": _time_words(words)}
                result = {"type": "Results", "is_final": True, "speech_final": True}
                metadata = {"request_id": "1"}
                await socket.send_json({**result, "metadata": metadata, "channel": {"alternatives": [heard]}})
        return socket

    async def _hear_deepgram_flux(self, request: web.Request) -> web.WebSocketResponse:
        socket, ears = await _accept(request), Ears(self._fake)
        async for message in socket:
            if message.type is WSMsgType.BINARY and (words := ears.hear(message.data)):
                for event in ("StartOfTurn", "EndOfTurn"):
                    turn = {"event": event, "transcript": words, "words": _time_words(words)}
                    await socket.send_json({"type": "TurnInfo", "request_id": "1", **turn})
        return socket

    async def _begin_gladia(self, request: web.Request) -> web.Response:
        return web.json_response({"id": "1", "url": f"wss://{request.host}{_GLADIA_SOCKET}"})

    async def _hear_gladia(self, request: web.Request) -> web.WebSocketResponse:
        socket, ears = await _accept(request), Ears(self._fake)
        async for message in socket:
            asked = message.json()
            if asked["type"] == "audio_chunk" and (words := ears.hear(base64.b64decode(asked["data"]["chunk"]))):
                utterance = {"text": words, "language": "en", "words": []}
                await socket.send_json({"type": "transcript", "data": {"is_final": True, "utterance": utterance}})
                translated = {"translated_utterance": utterance, "target_language": "en", "utterance": utterance}
                await socket.send_json({"type": "translation", "data": translated})
        return socket

    async def _hear_cartesia(self, request: web.Request) -> web.WebSocketResponse:
        socket, ears = await _accept(request), Ears(self._fake)
        await socket.send_json({"type": "connected", "request_id": "1"})
        async for message in socket:
            if message.type is WSMsgType.BINARY and (words := ears.hear(message.data)):
                for event in ("turn.start", "turn.end"):
                    await socket.send_json({"type": event, "request_id": "1", "transcript": words})
        return socket

    async def _speak_cartesia(self, request: web.Request) -> web.WebSocketResponse:
        socket = await _accept(request)
        async for message in socket:
            asked = message.json()
            context = {"context_id": asked["context_id"]}
            if asked["transcript"].strip():
                await socket.send_json({**context, "type": "chunk", "data": _base64(self._speak(asked["transcript"]))})
            if not asked["continue"]:
                await socket.send_json({**context, "type": "done", "done": True})
        return socket

    async def _speak_elevenlabs(self, request: web.Request) -> web.WebSocketResponse:
        socket = await _accept(request)
        encoding: Encoding = "mp3" if request.query.get("output_format", "mp3").startswith("mp3") else "pcm"
        async for message in socket:
            asked = message.json()
            context = {"contextId": asked["context_id"]}
            if text := asked.get("text", "").strip():
                audio = encode(self._speak(text), encoding)
                await socket.send_json({**context, "audio": _base64(audio)})
            if asked.get("close_context"):
                await socket.send_json({**context, "isFinal": True})
        return socket

    async def _speak_inworld(self, request: web.Request) -> web.WebSocketResponse:
        socket = await _accept(request)
        async for message in socket:
            asked = message.json()
            context = {"contextId": asked["contextId"], "status": {"code": 0}}
            if "create" in asked:
                await socket.send_json({"result": {**context, "contextCreated": {}}})
            elif "send_text" in asked and (text := asked["send_text"]["text"].strip()):
                chunk = {"audioContent": _base64(self._speak(text))}
                await socket.send_json({"result": {**context, "audioChunk": chunk}})
            elif "close_context" in asked:
                await socket.send_json({"result": {**context, "contextClosed": {}}})
        return socket

    async def _speak_rime(self, request: web.Request) -> web.Response:
        asked = await request.json()
        return web.Response(body=self._speak(asked["text"]), content_type="audio/pcm")

    async def _answer_gemini(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        messages = [
            {"role": content.get("role"), "content": " ".join(part.get("text", "") for part in content["parts"])}
            for content in body["contents"]
        ]
        self._fake.chats.append({"messages": messages})
        words = "".join(delta.get("content", "") for delta, _ in build_answer({"messages": messages}))
        candidate = {"content": {"role": "model", "parts": [{"text": words}]}, "finishReason": "STOP"}
        text = f"data: {json.dumps({'candidates': [candidate]})}\n\n"
        return web.Response(text=text, content_type="text/event-stream")

    def _speak(self, text: str) -> bytes:
        self._fake.spoken.append(text)
        return build_murmur(len(text) * SECONDS_PER_CHARACTER)


async def _accept(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    return socket


def _time_words(text: str) -> list[dict[str, Any]]:
    return [
        {"word": word, "punctuated_word": word, "start": float(number), "end": number + 1.0, "confidence": 1.0}
        for number, word in enumerate(text.split())
    ]


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
