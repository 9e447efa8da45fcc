"""The local models behind the classes that agents use: livekit's openai plugin."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from livekit import rtc
from livekit.agents import Agent, AgentSession, APIConnectOptions, APIStatusError, RunContext, function_tool
from livekit.agents.llm import ChatContext, CollectedResponse, FunctionCall, FunctionCallOutput, Tool
from livekit.agents.voice.run_result import RunResult
from livekit.plugins import openai

from testing.local_models import running_local_models
from testing.local_speech import speech_pcm
from testing.sound import SAMPLE_RATE
from testing.transcripts import word_error_rate

SENTENCE = "I would like to book a table for my family, tomorrow evening, please."
ONE_TRY = APIConnectOptions(max_retry=0)


@pytest.fixture(scope="module")
def base_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log: Path = tmp_path_factory.mktemp("local-models") / "server.log"
    with running_local_models(log, API_KEY="right") as address:
        yield f"{address}/v1"


@pytest.fixture
async def llm(base_url: str) -> AsyncIterator[openai.LLM]:
    llm = openai.LLM(model="any", base_url=base_url, api_key="right")
    yield llm
    await llm.aclose()


async def answer(llm: openai.LLM, chat: ChatContext, tools: list[Tool] | None = None) -> CollectedResponse:
    async with llm.chat(chat_ctx=chat, tools=tools, conn_options=ONE_TRY) as stream:
        return await stream.collect()


@function_tool
async def get_weather(city: str, unit: str | None = None) -> str:
    """Called when the user asks about the weather.

    Args:
        city: The city the user asks for.
        unit: Celsius or Fahrenheit.
    """
    raise NotImplementedError


@function_tool
async def transfer_to_billing() -> None:
    """Transfers the user to the billing department."""


TOOLS: list[Tool] = [get_weather, transfer_to_billing]


async def test_llm_answers_with_usage(llm: openai.LLM) -> None:
    chat = ChatContext.empty()
    chat.add_message(role="system", content="You are a helpful assistant.")
    chat.add_message(role="user", content="My account number is 4711.")
    chat.add_message(role="assistant", content="Noted.")
    chat.add_message(role="user", content="What was my number?")
    reply = await answer(llm, chat, TOOLS)
    assert (reply.text, reply.tool_calls) == ("Your number is 4 7 1 1.", [])
    assert reply.usage is not None
    assert reply.usage.completion_tokens == 7


async def test_llm_greets_when_instructed(llm: openai.LLM) -> None:
    chat = ChatContext.empty()
    chat.add_message(role="system", content="You are a helpful assistant.")
    chat.add_message(role="system", content="Greet the user and offer your assistance.")
    assert (await answer(llm, chat)).text == "Hello! How can I help you today?"


@pytest.mark.parametrize(
    ("said", "name", "arguments"),
    [
        ("What's the weather in Paris?", "get_weather", {"city": "Paris", "unit": None}),
        ("Please transfer me to billing.", "transfer_to_billing", {}),
    ],
)
async def test_llm_calls_tools(llm: openai.LLM, said: str, name: str, arguments: dict[str, object]) -> None:
    chat = ChatContext.empty()
    chat.add_message(role="user", content=said)
    reply = await answer(llm, chat, TOOLS)
    assert [(call.name, json.loads(call.arguments)) for call in reply.tool_calls] == [(name, arguments)]


async def test_llm_speaks_a_tools_result(llm: openai.LLM) -> None:
    chat = ChatContext.empty()
    chat.add_message(role="user", content="What's the weather in Paris?")
    chat.insert(FunctionCall(call_id="1", name="get_weather", arguments='{"city": "Paris"}'))
    chat.insert(FunctionCallOutput(call_id="1", name="get_weather", output="It is sunny in Paris.", is_error=False))
    assert (await answer(llm, chat, TOOLS)).text == "It is sunny in Paris."


async def test_llm_with_a_wrong_key(base_url: str) -> None:
    llm = openai.LLM(model="any", base_url=base_url, api_key="wrong")
    chat = ChatContext.empty()
    chat.add_message(role="user", content="Hello.")
    with pytest.raises(APIStatusError) as refused:
        await answer(llm, chat)
    assert refused.value.status_code == 401
    await llm.aclose()


@pytest.mark.parametrize("model", ["tts-1", "gpt-4o-mini-tts"])
@pytest.mark.parametrize("response_format", ["pcm", "wav", "mp3"])
async def test_tts_then_stt(base_url: str, model: str, response_format: openai.tts.RESPONSE_FORMATS) -> None:
    tts = openai.TTS(model=model, base_url=base_url, api_key="right", response_format=response_format)
    stt = openai.STT(model="whisper-1", base_url=base_url, api_key="right", use_realtime=False)
    async with tts.synthesize(SENTENCE, conn_options=ONE_TRY) as stream:
        frame = await stream.collect()
    assert (frame.sample_rate, frame.num_channels) == (24_000, 1)
    event = await stt.recognize(frame, conn_options=ONE_TRY)
    assert word_error_rate([SENTENCE], [event.alternatives[0].text]) <= 0.15
    await tts.aclose()


async def test_stt_of_a_customers_speech(base_url: str) -> None:
    stt = openai.STT(model="gpt-4o-mini-transcribe", base_url=base_url, api_key="right", use_realtime=False)
    pcm = speech_pcm(SENTENCE)
    frame = rtc.AudioFrame(pcm, SAMPLE_RATE, 1, len(pcm) // 2)
    event = await stt.recognize([frame], conn_options=ONE_TRY)
    assert word_error_rate([SENTENCE], [event.alternatives[0].text]) <= 0.15


class Billing(Agent):
    """The agent that is handed over to."""

    def __init__(self) -> None:
        super().__init__(instructions="You answer questions about bills.")

    async def on_enter(self) -> None:
        self.session.generate_reply(instructions='Say "This is billing."')


class Reception(Agent):
    """Greets, knows the weather, hands over: the shape that LiveKit teaches."""

    def __init__(self) -> None:
        super().__init__(instructions="You are a friendly receptionist.")

    async def on_enter(self) -> None:
        self.session.generate_reply(instructions="Greet the user and offer your assistance.")

    @function_tool
    async def lookup_weather(self, context: RunContext[None], location: str) -> str:
        """Looks up weather information for a given location.

        Args:
            location: The location.
        """
        return f"It is sunny in {location}."

    @function_tool
    async def transfer_to_billing(self, context: RunContext[None]) -> Agent:
        """Transfers the user to billing."""
        return Billing()


async def test_an_agent_with_tools_and_a_handoff(llm: openai.LLM) -> None:
    async with AgentSession[None](llm=llm) as session:
        greeting = await session.start(Reception(), capture_run=True)
        greeting.expect.contains_message(role="assistant")
        weather: RunResult[None] = await session.run(user_input="What's the weather in Paris?")
        weather.expect.next_event().is_function_call(name="lookup_weather", arguments={"location": "Paris"})
        weather.expect.next_event().is_function_call_output(output="It is sunny in Paris.")
        told = weather.expect.next_event().is_message(role="assistant").event()
        assert told.item.text_content == "It is sunny in Paris."
        moved: RunResult[None] = await session.run(user_input="Please transfer me to billing.")
        moved.expect.contains_agent_handoff(new_agent_type=Billing)
        last = [item.text_content for item in session.history.items if item.type == "message"][-1]
    assert last == "This is billing."
