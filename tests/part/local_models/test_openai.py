"""The local models, a real process, driven by OpenAI's own client and by plain HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import openai
import pytest
from hibari import Hibari

from local_models.audio import SPOKEN_RATE, encode, to_pcm
from testing.local_models import running_local_models
from testing.local_speech import speech_wav
from testing.transcripts import word_error_rate
from testing.waiting import eventually

SENTENCES = (
    "I would like to book a table for my family tomorrow evening, please.",
    "Hello there, my name is Anna and I am calling about my order.",
    "The green bicycle is parked behind the old library.",
    "What is the weather in Paris?",
    "Goodbye.",
)
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Returns the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("local-models") / "server.log"


@pytest.fixture(scope="module")
def address(log: Path) -> Iterator[str]:
    with running_local_models(log) as address:
        yield address


@pytest.fixture
async def client(address: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture
async def http(address: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(address) as session:
        yield session


def openai_error(error: openai.APIStatusError) -> dict[str, Any]:
    """Returns the error's body, after a look at its form."""
    body = error.response.json()["error"]
    assert set(body) == {"message", "type", "param", "code"}
    assert body["message"]
    return dict(body)


async def test_models(client: openai.AsyncOpenAI) -> None:
    models = await client.models.list()
    assert [model.id for model in models.data] == ["whisper-tiny.en", "hibari", "rule-based-partner"]


async def test_chat_in_one_piece(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model="any",
        messages=[
            {"role": "system", "content": "You are helpful."},
            {"role": "user", "content": "My name is Anna."},
            {"role": "assistant", "content": "Nice to meet you, Anna."},
            {"role": "user", "content": "What is my name?"},
        ],
    )
    assert answer.choices[0].message.content == "Your name is Anna."
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == "rule-based-partner"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 4


@pytest.mark.parametrize("include_usage", [True, False])
async def test_chat_as_a_stream(client: openai.AsyncOpenAI, include_usage: bool) -> None:
    stream = await client.chat.completions.create(
        model="any",
        messages=[{"role": "user", "content": "Count to three."}],
        stream=True,
        stream_options={"include_usage": include_usage},
    )
    chunks = [chunk async for chunk in stream]
    deltas = [choice.delta.content for chunk in chunks for choice in chunk.choices if choice.delta.content]
    assert deltas == ["one,", " two,", " three."]
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices][-1] == "stop"
    assert [chunk.usage.completion_tokens for chunk in chunks if chunk.usage] == ([3] if include_usage else [])


async def test_a_tool_is_called_and_its_result_spoken(client: openai.AsyncOpenAI) -> None:
    messages: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]
    asked = await client.chat.completions.create(model="any", messages=messages, tools=[WEATHER])
    message = asked.choices[0].message
    assert asked.choices[0].finish_reason == "tool_calls"
    assert message.tool_calls is not None
    call = message.tool_calls[0]
    assert call.type == "function"
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "Paris"})
    messages += [
        message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "It is sunny in Paris."},
    ]
    told = await client.chat.completions.create(model="any", messages=messages, tools=[WEATHER])
    assert told.choices[0].message.content == "It is sunny in Paris."


async def test_a_streamed_tool_call(client: openai.AsyncOpenAI) -> None:
    async with client.chat.completions.stream(
        model="any", messages=[{"role": "user", "content": "What is the weather in Paris?"}], tools=[WEATHER]
    ) as stream:
        final = await stream.get_final_completion()
    assert final.choices[0].message.tool_calls is not None
    assert final.choices[0].message.tool_calls[0].function.arguments == '{"city": "Paris"}'


async def test_speech_comes_back_as_it_was_said(client: openai.AsyncOpenAI) -> None:
    heard = []
    for sentence in SENTENCES:
        speech = await client.audio.speech.create(model="tts-1", voice="alloy", input=sentence, response_format="wav")
        transcript = await client.audio.transcriptions.create(model="whisper-1", file=("a.wav", speech.content))
        heard.append(transcript.text)
    assert word_error_rate(list(SENTENCES), heard) <= 0.15


async def test_longer_than_whispers_window(client: openai.AsyncOpenAI) -> None:
    said = " ".join(SENTENCES * 3)
    speech = await client.audio.speech.create(model="tts-1", voice="alloy", input=said)
    assert speech.response.headers["content-type"] == "audio/mpeg"
    answer = await client.audio.transcriptions.create(
        model="whisper-1", file=("a.mp3", speech.content), response_format="verbose_json", language="en"
    )
    assert answer.duration > 30
    assert answer.language == "english"
    assert word_error_rate([said], [answer.text]) <= 0.15


async def test_silence_is_no_words(client: openai.AsyncOpenAI) -> None:
    answer = await client.audio.transcriptions.create(model="any", file=("a.wav", encode(bytes(48_000), "wav")))
    assert answer.text == ""


async def test_transcript_as_text(client: openai.AsyncOpenAI) -> None:
    answer = await client.audio.transcriptions.create(
        model="any", file=("a.wav", speech_wav("Goodbye.").read_bytes()), response_format="text"
    )
    assert answer.strip(" .\n!") == "Goodbye"


async def test_pcm_is_24_khz_16_bit_mono(client: openai.AsyncOpenAI) -> None:
    speech = await client.audio.speech.create(model="any", voice="any", input="Goodbye.", response_format="pcm")
    assert speech.response.headers["content-type"] == "audio/pcm"
    whole = to_pcm(Hibari()("Goodbye.", speed=1.0, seed=0))  # type: ignore[no-untyped-call]
    assert whole.endswith(speech.content)
    lead = np.frombuffer(whole.removesuffix(speech.content), "<i2")
    assert 0 < lead.size < SPOKEN_RATE / 2
    assert np.abs(lead).max() < 100, "more than silence was cut"


async def test_pcm_is_sent_piece_by_piece(address: str) -> None:
    # The pieces are HTTP's own chunks; clients may put two together, so they are counted on the wire.
    body = b'{"model": "any", "voice": "any", "input": "One is first. Two is next. It ends.", "response_format": "pcm"}'
    host, _, port = address.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /v1/audio/speech HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    async with asyncio.timeout(60):
        answer = await reader.readuntil(b"\r\n\r\n")
        assert b"transfer-encoding: chunked" in answer.lower()
        sizes = []
        while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
            sizes.append(size)
            await reader.readexactly(size + 2)
    writer.close()
    assert len(sizes) == 3


async def test_speaking_ends_when_the_listener_hangs_up(http: aiohttp.ClientSession) -> None:
    async def counted() -> tuple[float, bool]:
        async with http.get("/metrics") as answer:
            lines = dict(line.rsplit(" ", 1) for line in (await answer.text()).splitlines() if line[0] != "#")
        idle = lines['local_models_busy{work="tts"}'] == lines['local_models_queue_length{work="tts"}'] == "0.0"
        return float(lines['local_models_work_seconds_count{work="tts"}']), idle

    before, _ = await counted()
    body = {"model": "any", "input": "This is one more sentence to be spoken. " * 100, "response_format": "pcm"}
    answer = await http.post("/v1/audio/speech", json=body)
    await answer.content.readany()
    answer.close()

    async def ended() -> float | None:
        count, idle = await counted()
        return count if idle else None

    assert 1 <= await eventually(ended, 30) - before < 100


async def test_nothing_to_speak_is_silence_and_no_error(client: openai.AsyncOpenAI) -> None:
    speech = await client.audio.speech.create(model="any", voice="any", input="\U0001f642", response_format="pcm")
    assert speech.content == bytes(4800)


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("chat/completions", {"model": "any", "messages": []}, "messages"),
        ("chat/completions", {"model": "any", "messages": [{"role": "king", "content": "x"}]}, "messages.0.role"),
        ("chat/completions", {"messages": [{"role": "user", "content": "x"}]}, "model"),
        ("chat/completions", [], None),
        ("chat/completions", {"model": "any", "messages": [{"role": "user", "content": "x"}], "n": 2}, "n"),
        ("audio/speech", {"model": "any", "voice": "any", "input": ""}, "input"),
        ("audio/speech", {"model": "any", "voice": "any", "input": "x" * 5000}, "input"),
        ("audio/speech", {"model": "any", "voice": "any", "input": "x", "response_format": "opus"}, "response_format"),
        ("audio/speech", {"model": "any", "voice": "any", "input": "x", "speed": 3}, "speed"),
    ],
)
async def test_wrong_bodies(client: openai.AsyncOpenAI, path: str, body: Any, param: str | None) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await client.post(f"/{path}", cast_to=object, body=body)
    error = openai_error(refused.value)
    assert (error["param"], error["type"]) == (param, "invalid_request_error")


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff\xfe", b'"text"'])
@pytest.mark.parametrize("path", ["chat/completions", "audio/speech", "audio/transcriptions"])
async def test_bodies_that_are_no_json_and_no_form(http: aiohttp.ClientSession, path: str, raw: bytes) -> None:
    async with http.post(f"/v1/{path}", data=raw, headers={"Content-Type": "application/json"}) as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": "any"}, "file"),
        ({"file": b"secretword is not audio", "model": "any"}, "file"),
        ({"file": b"", "model": "any"}, "file"),
        ({"file": b"x"}, "model"),
        ({"file": b"x", "model": "any", "language": "de"}, "language"),
        ({"file": b"x", "model": "any", "response_format": "srt"}, "response_format"),
    ],
)
async def test_wrong_forms(http: aiohttp.ClientSession, fields: dict[str, Any], param: str) -> None:
    form = aiohttp.FormData(default_to_multipart=True)
    for name, value in fields.items():
        form.add_field(name, value, filename="a.wav" if name == "file" else None)
    async with http.post("/v1/audio/transcriptions", data=form) as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]["param"] == param


@pytest.mark.parametrize("body", [b"", b"no boundary here", b"--x\r\n\r\n", b"--x\r\nContent-Disposition: form-data"])
async def test_broken_forms(http: aiohttp.ClientSession, body: bytes) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    async with http.post("/v1/audio/transcriptions", data=body, headers=headers) as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("path", ["chat/completions", "audio/speech", "audio/transcriptions"])
async def test_bodies_that_are_too_large(http: aiohttp.ClientSession, path: str) -> None:
    form = aiohttp.FormData({"model": "any"}, default_to_multipart=True)
    form.add_field("file", bytes(14 * 1024 * 1024), filename="a.wav")
    async with http.post(f"/v1/{path}", data=form) as answer:
        assert answer.status == 413
        assert (await answer.json())["error"]["code"] == "body_too_large"


async def test_audio_that_is_too_long(client: openai.AsyncOpenAI) -> None:
    file = ("a.wav", encode(bytes(130 * 48_000), "wav"))
    with pytest.raises(openai.BadRequestError) as refused:
        await client.audio.transcriptions.create(model="any", file=file)
    assert openai_error(refused.value)["code"] == "invalid_audio"


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v1/", 404), ("GET", "/v1/chat/completions", 405)])
async def test_other_requests(http: aiohttp.ClientSession, method: str, path: str, status: int) -> None:
    async with http.request(method, path) as answer:
        assert answer.status == status
        assert (await answer.json())["error"]["type"] == "invalid_request_error"


async def test_five_at_once_are_not_mixed_up(client: openai.AsyncOpenAI) -> None:
    async def hear(sentence: str) -> str:
        file = ("a.wav", speech_wav(sentence).read_bytes())
        return (await client.audio.transcriptions.create(model="any", file=file)).text

    heard = await asyncio.gather(*(hear(sentence) for sentence in SENTENCES))
    assert word_error_rate(list(SENTENCES), list(heard)) <= 0.15


async def test_health_and_metrics(http: aiohttp.ClientSession) -> None:
    for path in ("/healthz", "/readyz"):
        async with http.get(path) as answer:
            assert (answer.status, await answer.json()) == (200, {"status": "ready"})
    async with http.get("/metrics") as answer:
        metrics = await answer.text()
    for name in ("queue_length", "busy", "wait_seconds_count", "work_seconds_count"):
        assert f'local_models_{name}{{work="stt"}}' in metrics


async def test_no_word_is_logged(log: Path, client: openai.AsyncOpenAI) -> None:
    await client.chat.completions.create(model="any", messages=[{"role": "user", "content": "secretword"}])
    await client.audio.speech.create(model="any", voice="any", input="secretword")
    with pytest.raises(openai.BadRequestError):
        await client.post("/chat/completions", cast_to=object, body={"messages": "secretword"})
    written = await asyncio.to_thread(log.read_text)
    lines = [json.loads(line) for line in written.splitlines()]
    assert ("/v1/chat/completions", 200) in [(line.get("route"), line.get("status")) for line in lines]
    assert "secretword" not in written
    assert not [word for word in ("Anna", "Paris", "bicycle", "Goodbye") if word in written]


async def test_over_the_limit(tmp_path: Path) -> None:
    with running_local_models(tmp_path / "log", SERVICES="tts", QUEUE_LIMIT="2") as address:
        async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0) as client:
            speak = client.audio.speech.with_raw_response.create
            one = "This is a rather long sentence that goes on and on and on without any end to it"
            answers = await asyncio.gather(
                *(speak(model="any", voice="any", input=one, response_format="pcm") for _ in range(12)),
                return_exceptions=True,
            )
    refused = [answer for answer in answers if isinstance(answer, openai.RateLimitError)]
    served = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert served
    assert refused
    assert len(served) + len(refused) == 12
    assert openai_error(refused[0])["code"] == "rate_limit_exceeded"
    assert int(refused[0].response.headers["retry-after"]) >= 1
    assert {answer.headers["x-queue-length"] for answer in served} == {"0", "1"}


async def test_onnxruntime_collects_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its telemetry begins with a device id and a database in the cache folder."""
    for name in ("ORT_DISABLE_TELEMETRY", "CI", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with running_local_models(tmp_path / "log", SERVICES="tts"):
        assert not await asyncio.to_thread(lambda: list((tmp_path / "home").rglob("*onnxruntime*")))


async def test_chat_alone_with_a_key(tmp_path: Path) -> None:
    with running_local_models(tmp_path / "log", SERVICES="chat", API_KEY="right") as address:
        async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="right", max_retries=0) as client:
            assert [model.id for model in (await client.models.list()).data] == ["rule-based-partner"]
            with pytest.raises(openai.NotFoundError) as missing:
                await client.audio.speech.create(model="any", voice="any", input="x")
            assert openai_error(missing.value)["code"] == "service_not_running"
            with pytest.raises(openai.AuthenticationError) as refused:
                await client.with_options(api_key="wrong").models.list()
            assert openai_error(refused.value)["code"] == "invalid_api_key"
        async with aiohttp.ClientSession(address) as http, http.get("/v1/models") as answer:
            assert answer.status == 401
