"""A second model answers in the same turn where the first fails; who has failed is passed over for a while."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from livekit import rtc
from livekit.agents import APIConnectOptions, APIError, APIStatusError, ChatContext

from testing.sound import build_murmur
from voice_agent import fallback
from voice_agent.fallback import FallbackSTT
from voice_agent.model_clients import ModelClients
from voice_agent.provider_models import PATIENCE, CallModels, ModelShelf
from voicesession.models import ModelChoices, Provider

Answer = Callable[[httpx2.Request], Awaitable[httpx2.Response]]


def build_provider(name: str, seconds: float = 60.0, **fields: Any) -> Provider:
    server = {"model": f"model-of-{name}", "baseUrl": f"http://{name}/v1", "timeouts": {"readSeconds": seconds}}
    return Provider.model_validate({"name": name, "stt": server, "llm": server, "tts": server, **fields})


class Vendors:
    """Two providers, the second behind the first, and who has been asked for what."""

    def __init__(self, first_seconds: float = 60.0, **answers: Answer) -> None:
        """`answers`: by provider. `first_seconds`: what the first one's first word may take."""
        self.asked: list[str] = []
        self.failures: list[tuple[str, str]] = []
        self._answers = answers
        self.first = build_provider("first", first_seconds, fallback="second")
        clients = ModelClients(Path("/nowhere"), transport=httpx2.MockTransport(self._answer))
        self.shelf = ModelShelf([self.first, build_provider("second")], clients)
        self.shelf.health.on_failure = lambda provider, part: self.failures.append((provider, part))

    def build(self, choices: ModelChoices | None = None) -> CallModels:
        return self.shelf.build_models(self.first, choices or ModelChoices(), "en")

    async def _answer(self, request: httpx2.Request) -> httpx2.Response:
        if not request.url.path.endswith("/models"):
            self.asked.append(request.url.host)
        return await self._answers[request.url.host](request)


async def stall(_: httpx2.Request) -> httpx2.Response:
    await asyncio.Event().wait()
    raise AssertionError


async def refuse(_: httpx2.Request) -> httpx2.Response:
    raise httpx2.ConnectError("nobody listens")


def give(status: int) -> Answer:
    async def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(status, json={"error": {"message": "no"}})

    return answer


async def work(request: httpx2.Request) -> httpx2.Response:
    """Answers as a server that works."""
    if request.url.path.endswith("/chat/completions"):
        return httpx2.Response(200, text=f"{chunk('Good ')}{chunk('day.')}data: [DONE]\n\n", headers=EVENTS)
    if request.url.path.endswith("/audio/speech"):
        return httpx2.Response(200, content=build_murmur(0.5), headers={"Content-Type": "audio/pcm"})
    return httpx2.Response(200, json={"text": "good day"})


EVENTS = {"Content-Type": "text/event-stream"}


def chunk(text: str) -> str:
    choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}
    whole = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return f"data: {json.dumps(whole)}\n\n"


async def break_off(request: httpx2.Request) -> httpx2.Response:
    """Says half of an answer."""

    async def half() -> Any:
        yield chunk("Half an").encode()
        raise httpx2.ReadError("gone")

    return httpx2.Response(200, content=half(), headers=EVENTS)


async def chat(models: CallModels) -> str:
    assert models.llm is not None
    context = ChatContext.empty()
    context.add_message(role="user", content="Hello?")
    answer = await models.llm.chat(chat_ctx=context, conn_options=PATIENCE).collect()  # type: ignore[union-attr]
    return answer.text


async def speak(models: CallModels) -> str:
    assert models.tts is not None
    frame = await models.tts.synthesize("Good day.", conn_options=PATIENCE).collect()
    return f"{frame.duration:.1f} s at {frame.sample_rate}"


async def hear(models: CallModels) -> str:
    assert models.stt is not None
    event = await models.stt.recognize([rtc.AudioFrame.create(16000, 1, 1600)], conn_options=PATIENCE)
    return event.alternatives[0].text


USES = [("llm", chat, "Good day."), ("tts", speak, "0.5 s at 24000"), ("stt", hear, "good day")]
Use = Callable[[CallModels], Awaitable[str]]


@pytest.mark.parametrize(("part", "use", "answer"), USES)
@pytest.mark.parametrize("fail", [refuse, give(401), give(429), give(500)])
async def test_the_second_answers_in_the_same_turn_and_is_asked_first_from_then_on(
    part: str, use: Use, answer: str, fail: Answer
) -> None:
    vendors = Vendors(first=fail, second=work)
    assert await use(vendors.build()) == answer
    assert vendors.asked == ["first", "second"]
    assert vendors.failures == [("first", part)]
    assert await use(vendors.build()) == answer
    assert vendors.asked[2:] == ["second"]
    assert vendors.failures == [("first", part)]


@pytest.mark.parametrize(("part", "use", "answer"), USES)
async def test_who_says_nothing_is_not_waited_for(part: str, use: Use, answer: str) -> None:
    vendors = Vendors(first_seconds=0.3, first=stall, second=work)
    for _ in range(2):
        assert await use(vendors.build()) == answer
    assert vendors.failures == [("first", part)]
    assert vendors.asked[-2:] == ["second", "second"]


@pytest.mark.parametrize(("part", "use", "answer"), USES)
async def test_the_first_is_asked_again_after_a_while(
    part: str, use: Use, answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fallback, "PASS_OVER_SECONDS", 0.0)
    vendors = Vendors(first=give(500), second=work)
    for _ in range(2):
        assert await use(vendors.build()) == answer
    assert vendors.asked == ["first", "second"] * 2


@pytest.mark.parametrize(("part", "use", "answer"), USES)
async def test_who_is_known_to_fail_is_asked_last(part: Any, use: Use, answer: str) -> None:
    vendors = Vendors(first=work, second=give(500))
    vendors.shelf.health.pass_over("first", part)
    assert await use(vendors.build()) == answer
    assert vendors.asked == ["second", "first"]


@pytest.mark.parametrize(("part", "use", "answer"), USES)
async def test_where_all_fail_it_is_the_firsts_failure_that_is_told(part: str, use: Use, answer: str) -> None:
    vendors = Vendors(first=give(403), second=refuse)
    with pytest.raises(APIStatusError) as failed:
        await use(vendors.build())
    assert failed.value.status_code == 403
    assert vendors.failures == [("first", part), ("second", part)]


async def test_speech_to_text_that_streams_has_nobody_behind_it() -> None:
    vendors = Vendors(first=work, second=work)
    assert isinstance(vendors.build().stt, FallbackSTT)
    streaming = vendors.build(ModelChoices(stt="gpt-realtime-whisper")).stt
    assert streaming is not None
    assert streaming.capabilities.streaming


async def test_what_was_asked_is_at_fault_not_who_was() -> None:
    vendors = Vendors(first=give(400), second=work)
    assert await chat(vendors.build()) == "Good day."
    assert not vendors.failures
    assert await chat(vendors.build()) == "Good day."
    assert vendors.asked == ["first", "second"] * 2


async def test_nobody_says_an_answer_from_its_beginning_again() -> None:
    vendors = Vendors(first=break_off, second=work)
    with pytest.raises(APIError):
        await chat(vendors.build())
    assert vendors.asked == ["first"]
    assert await chat(vendors.build()) == "Good day."


async def test_a_stream_that_stays_open_without_a_word_is_a_stall() -> None:
    async def keep_alive(_: httpx2.Request) -> httpx2.Response:
        async def comments() -> Any:
            while True:
                yield b": still here\n\n"
                await asyncio.sleep(0)  # noqa: TID251 - lets others run

        return httpx2.Response(200, content=comments(), headers=EVENTS)

    vendors = Vendors(first_seconds=0.3, first=keep_alive, second=work)
    assert await chat(vendors.build()) == "Good day."
    assert vendors.failures == [("first", "llm")]


async def test_the_profiles_choices_are_of_the_first_providers_models() -> None:
    bodies: list[dict[str, Any]] = []

    async def note(request: httpx2.Request) -> httpx2.Response:
        if request.url.path.endswith("/chat/completions"):
            bodies.append(json.loads(request.content))
        return await (give(500) if request.url.host == "first" else work)(request)

    vendors = Vendors(first=note, second=note)
    await chat(vendors.build(ModelChoices(llm="chosen")))
    assert [body["model"] for body in bodies] == ["chosen", "model-of-second"]


@pytest.mark.parametrize(
    ("fields", "hosts"),
    [
        ({}, ["first"]),
        ({"fallback": "second"}, ["first", "second"]),
        ({"fallback": "absent"}, ["first"]),
        ({"fallback": "first"}, ["first"]),
        (
            {"fallback": "second", "llm": {"model": "l", "baseUrl": "http://first/v1", "fallback": "third"}},
            ["first", "third"],
        ),
    ],
)
async def test_who_is_behind_whom(fields: dict[str, Any], hosts: list[str]) -> None:
    async def fail(request: httpx2.Request) -> httpx2.Response:
        if not request.url.path.endswith("/models"):
            asked.append(request.url.host)
        raise httpx2.ConnectError("nobody listens")

    asked: list[str] = []
    first = build_provider("first", **fields)
    clients = ModelClients(Path("/nowhere"), transport=httpx2.MockTransport(fail))
    shelf = ModelShelf([first, build_provider("second", fallback="first"), build_provider("third")], clients)
    model = shelf.build_models(first, ModelChoices(), "en").llm
    assert model is not None
    with pytest.raises(APIError):
        await model.chat(chat_ctx=ChatContext.empty(), conn_options=APIConnectOptions(max_retry=0)).collect()  # type: ignore[union-attr]
    assert list(dict.fromkeys(asked)) == hosts
