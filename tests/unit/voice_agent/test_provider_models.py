"""What a provider's models are asked, and what their speech sounds like, in whatever format it comes."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import httpx2
import numpy as np
import pytest
from livekit import rtc
from livekit.agents import ChatContext, function_tool

from voice_agent.answers.client import PATIENCE
from voice_agent.model_clients import ModelClients
from voice_agent.provider_models import ModelShelf
from voicesession.models import ModelChoices, Provider

HERTZ = 440
SECONDS = 1.0
PARTS: dict[str, Any] = {"stt": {"model": "s"}, "llm": {"model": "l"}, "tts": {"model": "t"}}


def build_shelf(
    provider: dict[str, Any], answer: Callable[[httpx2.Request], httpx2.Response]
) -> tuple[ModelShelf, Provider]:
    """Returns a shelf with this provider, whose servers answer so."""
    parsed = Provider.model_validate({"name": "p", **PARTS, **provider})
    clients = ModelClients(Path("/nowhere"), transport=httpx2.MockTransport(answer))
    return ModelShelf([parsed], clients), parsed


def build_tone(rate: int) -> np.ndarray[Any, Any]:
    times = np.arange(int(rate * SECONDS)) / rate
    return (8000 * np.sin(2 * np.pi * HERTZ * times)).astype("<i2")


def encode_tone(container: str, codec: str, rate: int) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream: Any = output.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(build_tone(rate).reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            output.mux(packet)
    return file.getvalue()


FORMATS = [
    # what the pool says; what comes, and as what
    ({}, build_tone(24000).tobytes(), "audio/pcm"),
    ({"sampleRate": 22050}, build_tone(22050).tobytes(), "audio/pcm"),
    ({"sampleRate": 16000, "responseFormat": "pcm"}, build_tone(16000).tobytes(), "application/octet-stream"),
    ({"sampleRate": 48000}, build_tone(48000).tobytes(), "audio/pcm"),
    # A server that sends what it was not asked for says so.
    ({"sampleRate": 22050}, encode_tone("wav", "pcm_s16le", 44100), "audio/wav"),
    ({"responseFormat": "wav"}, encode_tone("wav", "pcm_s16le", 22050), "audio/wav"),
    ({"responseFormat": "wav"}, encode_tone("wav", "pcm_s16le", 24000), "application/octet-stream"),
    ({"responseFormat": "mp3"}, encode_tone("mp3", "libmp3lame", 44100), "audio/mpeg"),
    ({"responseFormat": "opus"}, encode_tone("ogg", "libopus", 48000), "audio/ogg"),
    ({"responseFormat": "opus"}, encode_tone("ogg", "libopus", 48000), "application/octet-stream"),
    ({"responseFormat": "flac"}, encode_tone("flac", "flac", 16000), "audio/flac"),
    ({"responseFormat": "aac"}, encode_tone("adts", "aac", 24000), "audio/aac"),
]


@pytest.mark.parametrize(("settings", "body", "content_type"), FORMATS)
async def test_speech_of_any_format_and_rate_sounds_as_it_should(
    settings: dict[str, Any], body: bytes, content_type: str
) -> None:
    asked: list[bytes] = []

    async def chunks() -> Any:
        # Not at the borders of samples.
        for start in range(0, len(body), 1001):
            yield body[start : start + 1001]

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.content)
        return httpx2.Response(200, content=chunks(), headers={"Content-Type": content_type, "x-request-id": "1"})

    shelf, provider = build_shelf({"tts": {"model": "t", **settings}}, answer)
    speech = shelf.build_tts(provider, ModelChoices())
    assert speech is not None
    frame = await speech.synthesize("A tone.").collect()
    assert f'"response_format":"{settings.get("responseFormat", "pcm")}"'.encode() in asked[0]
    assert (frame.sample_rate, frame.num_channels) == (24000, 1)
    assert frame.duration == pytest.approx(SECONDS, abs=0.1)
    assert read_pitch(frame) == pytest.approx(HERTZ, rel=0.01)


def read_pitch(frame: rtc.AudioFrame) -> float:
    """Returns the loudest frequency in the middle of the sound."""
    samples = np.frombuffer(frame.data, dtype=np.int16)
    middle = samples[len(samples) // 4 : 3 * len(samples) // 4].astype(float)
    loudest = int(np.argmax(np.abs(np.fft.rfft(middle * np.hanning(len(middle))))))
    return loudest * frame.sample_rate / len(middle)


@pytest.mark.parametrize(("language", "sent"), [("de", b"de"), ("auto", None)])
async def test_the_language_is_left_open_where_it_may_be_any(language: str, sent: bytes | None) -> None:
    asked: list[bytes] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.content)
        return httpx2.Response(200, json={"text": "guten Tag"})

    shelf, provider = build_shelf({}, answer)
    hearing = shelf.build_models(provider, ModelChoices(), language).stt
    assert hearing is not None
    silence = rtc.AudioFrame.create(16000, 1, 1600)
    event = await hearing.recognize([silence])
    assert event.alternatives[0].text == "guten Tag"
    named = b'name="language"\r\n\r\n' in asked[0]
    assert named is (sent is not None)
    assert sent is None or b'name="language"\r\n\r\n' + sent in asked[0]


@function_tool
async def book(day: str, guests: int = 2) -> None:
    """Books a table."""


@pytest.mark.parametrize(
    ("server", "strict"),
    [
        ({}, True),
        ({"baseUrl": "https://api.openai.com/v1/"}, True),
        ({"baseUrl": "http://vllm.models.svc:8000/v1"}, False),
        ({"strictTools": False}, False),
        ({"baseUrl": "http://vllm.models.svc:8000/v1", "strictTools": True}, True),
    ],
)
async def test_tools_are_described_strictly_to_whoever_takes_it(server: dict[str, Any], strict: bool) -> None:
    asked: list[Any] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(json.loads(request.content))
        chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "l"}
        chunk["choices"] = [{"index": 0, "delta": {"content": "Yes."}, "finish_reason": "stop"}]
        body = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n"
        return httpx2.Response(200, text=body, headers={"Content-Type": "text/event-stream"})

    shelf, provider = build_shelf({"llm": {"model": "l", **server}}, answer)
    model: Any = shelf.build_models(provider, ModelChoices(), "en").llm
    question = ChatContext.empty()
    question.add_message(role="user", content="A table, please.")
    await model.chat(chat_ctx=question, tools=[book]).collect()
    (described,) = asked[0]["tools"]
    assert described["function"].get("strict", False) is strict
    assert described["function"]["parameters"]["required"] == (["day", "guests"] if strict else ["day"])


@pytest.mark.parametrize(("response_format", "decodes"), [(None, False), ("pcm", False), ("mp3", True), ("wav", True)])
def test_decoders_are_loaded_for_what_needs_them(response_format: str | None, decodes: bool) -> None:
    settings = {"responseFormat": response_format} if response_format else {}
    shelf, _ = build_shelf({"tts": {"model": "t", **settings}}, lambda _: httpx2.Response(200))
    assert shelf.decodes_speech is decodes


async def test_a_chat_model_is_asked_for_one_word_with_patience() -> None:
    asked: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        message = {"role": "assistant", "content": "Yes."}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return httpx2.Response(
            200, json={"id": "1", "object": "chat.completion", "created": 1, "model": "l", "choices": [choice]}
        )

    shelf, provider = build_shelf({"llm": {"model": "l", "timeouts": {"readSeconds": 1}}}, answer)
    await shelf.ask_one_word(provider)
    assert b"Say one word." in asked[0].content
    assert asked[0].extensions[PATIENCE].answer == 300


async def test_a_model_is_known_by_its_host_and_its_name() -> None:
    def build(name: str, url: str | None, model: str) -> Provider:
        return Provider.model_validate({"name": name, "llm": {"model": model, "baseUrl": url}})

    ours, theirs = build("ours", "http://models:8000/v1", "big"), build("theirs", "http://models:8000/v1", "small")
    shelf = ModelShelf([theirs, ours, build("openai", None, "gpt")], ModelClients(Path("/nowhere")))
    asked = [("models:8000", "small"), ("models:8000", "other"), ("api.openai.com", "gpt-4"), ("api.deepgram.com", "")]
    named = [shelf.name_provider(host, model, ours) for host, model in asked]
    assert named == ["theirs", "ours", "openai", "api.deepgram.com"]
    assert {
        model.provider for model in (shelf.build_models(each, ModelChoices(), "en").llm for each in (ours,)) if model
    } == {"models:8000"}, "so livekit-agents tells it"
