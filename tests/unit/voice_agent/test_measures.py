"""What is told of a call's agent sessions: counts, times and names, and not a word that was said."""

import time
from types import SimpleNamespace
from typing import Any

import pytest
from livekit.agents import AgentSession, APIStatusError, ChatMessage, ErrorEvent
from livekit.agents.llm import LLMError, MetricsReport
from livekit.agents.metrics import LLMModelUsage, STTModelUsage, TTSModelUsage
from livekit.agents.stt import STTError
from livekit.agents.voice.events import AgentStateChangedEvent, ConversationItemAddedEvent, UserStateChangedEvent

from voice_agent.endings import CallFacts
from voice_agent.measures import Measures
from voicesession.measures import FirstWord, Measured, ModelFailures, ModelName, ModelUse, Turn

CHAT = ModelName(provider="acme", model="chat-1")


class Measuring:
    """A call of two agent sessions, and what was told of it."""

    def __init__(self) -> None:
        self.told: list[Measured] = []
        self.facts = CallFacts(joined_at=time.monotonic())
        self.measures = Measures(self.facts, lambda host, _: host.removesuffix(".test"), self.told.append)
        self.sessions = [AgentSession[None](vad=None) for _ in range(2)]
        for session in self.sessions:
            self.measures.attach(session)

    def add(self, role: Any, session: int = 0, interrupted: bool = False, metrics: MetricsReport | None = None) -> None:
        message = ChatMessage(role=role, content=["the secret words"], interrupted=interrupted, metrics=metrics or {})
        self.sessions[session].emit("conversation_item_added", ConversationItemAddedEvent(item=message))

    def speak(self) -> None:
        event = AgentStateChangedEvent(old_state="listening", new_state="speaking")
        self.sessions[0].emit("agent_state_changed", event)


@pytest.fixture
async def call() -> Measuring:
    return Measuring()


async def test_an_answer_is_told_with_its_questions_latencies_and_its_models(call: Measuring) -> None:
    call.add("user", metrics={"transcription_delay": 0.2, "end_of_turn_delay": -0.1})
    call.add("user", session=1, metrics={"transcription_delay": 9.0})
    metrics: MetricsReport = {
        "llm_node_ttft": 0.1,
        "e2e_latency": 0.9,
        "llm_metadata": {"model_provider": "acme.test", "model_name": "chat-1"},
    }
    call.add("assistant", metrics=metrics)
    (told,) = call.told
    assert told.turn == Turn(
        transcription_millis=200, end_of_turn_millis=0, llm_first_token_millis=100, answer_millis=900, llm=CHAT
    )
    assert (told.replies, told.interrupted) == (1, 0)
    call.add("assistant", interrupted=True)
    assert (call.told[1].turn, call.told[1].replies, call.told[1].interrupted) == (None, 1, 1)
    assert "secret" not in "".join(each.model_dump_json() for each in call.told)


async def test_models_are_counted_once_over_all_sessions(call: Measuring) -> None:
    first, second = (session._usage_collector for session in call.sessions)
    chat = first._llm_usage["acme.test", "chat-1"] = LLMModelUsage(
        provider="acme.test", model="chat-1", input_tokens=5, input_cached_tokens=2
    )
    second._llm_usage["acme.test", "chat-1"] = LLMModelUsage(provider="acme.test", model="chat-1", output_tokens=3)
    second._stt_usage["ears", "ear"] = STTModelUsage(provider="ears", model="ear", audio_duration=1.5)
    second._tts_usage["mouth", "m"] = TTSModelUsage(provider="mouth", model="m", characters_count=7)
    call.add("assistant")
    assert call.told[0].used == [
        ModelUse(part="llm", provider="acme", model="chat-1", input_tokens=5, cached_tokens=2, output_tokens=3),
        ModelUse(part="tts", provider="mouth", model="m", characters=7),
        ModelUse(part="stt", provider="ears", model="ear", speech_seconds=1.5),
    ]
    chat.input_tokens += 4
    call.measures.tell_rest()
    assert call.told[1].used == [ModelUse(part="llm", provider="acme", model="chat-1", input_tokens=4)]
    call.measures.tell_rest()
    assert len(call.told) == 2, "there was nothing more"


async def test_failures_are_told_by_what_came_of_them(call: Measuring) -> None:
    source = SimpleNamespace(provider="acme.test", model="chat-1")
    error = APIStatusError("the secret words", status_code=500)
    for recoverable in (True, True, False):
        failed = LLMError(timestamp=0, label="x", error=error, recoverable=recoverable)
        call.sessions[1].emit("error", ErrorEvent.model_construct(error=failed, source=source))
    heard = STTError(timestamp=0, label="x", error=error, recoverable=False)
    call.sessions[0].emit("error", ErrorEvent.model_construct(error=heard, source=None))
    call.sessions[0].emit("error", ErrorEvent.model_construct(error=ValueError("words"), source=None))
    call.measures.count_fallback("acme", "tts")
    call.measures.tell_rest()
    # What is given up is told at once: there may be no answer for a long time.
    assert [told.failures for told in call.told] == [
        [
            ModelFailures(part="llm", provider="acme", outcome="retried", count=2),
            ModelFailures(part="llm", provider="acme", outcome="failed", count=1),
        ],
        [ModelFailures(part="stt", provider="", outcome="failed", count=1)],
        [ModelFailures(part="tts", provider="acme", outcome="fallback", count=1)],
    ]


async def test_the_first_word_is_told_once_and_as_it_is_heard(call: Measuring) -> None:
    call.measures.connect_millis = 80
    call.measures.expects_first_word = True
    call.facts.customer_came_at = call.facts.joined_at
    call.speak()
    call.speak()
    (told,) = call.told
    assert (told.first_word, told.connect_millis) == (FirstWord(), 80)


async def test_a_customer_who_comes_later_waits_from_then_on(call: Measuring) -> None:
    call.measures.expects_first_word = True
    call.facts.joined_at = time.monotonic() - 100
    call.facts.customer_came_at = time.monotonic() - 2
    call.speak()
    word = call.told[0].first_word
    assert word is not None
    assert 2000 <= (word.millis or 0) < 50_000


async def test_who_answers_has_no_first_word(call: Measuring) -> None:
    call.measures.expects_first_word = True
    call.facts.customer_came_at = call.facts.joined_at
    event = UserStateChangedEvent(old_state="listening", new_state="speaking")
    call.sessions[0].emit("user_state_changed", event)
    call.speak()
    assert call.told == []


async def test_numbers_and_names_beyond_all_sense_break_nothing(call: Measuring) -> None:
    usage = LLMModelUsage(provider="p" * 500, model="m" * 500, input_tokens=10**15)
    call.sessions[0]._usage_collector._llm_usage["x", "y"] = usage
    call.measures.tell_rest()
    (used,) = call.told[0].used
    assert (len(used.provider), len(used.model), used.input_tokens) == (100, 100, 1_000_000)
