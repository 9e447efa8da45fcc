"""What follows from the events of an agent session."""

from types import SimpleNamespace
from typing import Any

import pytest
from livekit.agents import (
    AgentSession,
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    ChatMessage,
    CloseEvent,
    ErrorEvent,
    ToolCallEnded,
    ToolCallStarted,
    ToolExecutionUpdatedEvent,
)
from livekit.agents.llm import FunctionCall, LLMError
from livekit.agents.stt import STTError
from livekit.agents.tts import TTSError
from livekit.agents.voice.agent_session import SessionConnectOptions
from livekit.agents.voice.events import (
    AgentEvent,
    AgentStateChangedEvent,
    CloseReason,
    ConversationItemAddedEvent,
    EventTypes,
    UserInputTranscribedEvent,
    UserStateChangedEvent,
)

from voice_agent.answers.wrong_answer import WrongAnswerError
from voice_agent.endings import CallFacts, Ending
from voice_agent.session_watch import SessionWatch, describe_trouble, is_hopeless
from voicesession.models import EndReason


class Watched:
    """A session that is watched, and what came of it."""

    def __init__(self) -> None:
        self.facts = CallFacts()
        self.activities = 0
        self.endings: list[Ending] = []
        self.failed_turns: list[str] = []
        self.apologizes = False
        self.session: AgentSession[None] = AgentSession(
            vad=None,
            turn_handling={"turn_detection": "manual"},
            conn_options=SessionConnectOptions(max_unrecoverable_errors=1),
        )
        self.watch = SessionWatch(
            provider="acme",
            facts=self.facts,
            on_activity=self._count,
            on_end=self.endings.append,
            on_failed_turn=self.failed_turns.append,
            is_apologizing=lambda: self.apologizes,
        )
        self.watch.attach(self.session)

    def _count(self) -> None:
        self.activities += 1

    def emit(self, name: EventTypes, event: AgentEvent) -> None:
        self.session.emit(name, event)


def fail(error: Exception, kind: type[STTError | LLMError | TTSError] = LLMError, recoverable: bool = False) -> Any:
    told = kind(timestamp=0, label="x", error=error, recoverable=recoverable)
    return ErrorEvent(error=told, source=None)


def refuse(status: int) -> APIStatusError:
    return APIStatusError("the secret words", status_code=status)


def caused(cause: Exception) -> APIConnectionError:
    error = APIConnectionError()
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (fail(refuse(500)), "provider 'acme' answered 500 to a chat request"),
        (fail(refuse(429), STTError), "provider 'acme' answered 429 to a speech-to-text request"),
        (
            fail(APIConnectionError(), TTSError),
            "provider 'acme' failed at a text-to-speech request: APIConnectionError",
        ),
        (
            fail(caused(WrongAnswerError("nothing"))),
            "provider 'acme' answered a chat request with nothing",
        ),
        (fail(APITimeoutError(), STTError), "provider 'acme' did not answer a speech-to-text request in time"),
        (fail(caused(ConnectionRefusedError())), "provider 'acme' failed at a chat request: ConnectionRefusedError"),
        (
            fail(APIError("no audio frames were pushed for text: the secret words"), TTSError),
            "provider 'acme' answered a text-to-speech request with audio that cannot be read",
        ),
        (
            ErrorEvent.model_construct(error=ValueError("words"), source=None),
            "provider 'acme' failed at a model request: ValueError",
        ),
    ],
)
def test_trouble_names_the_part_and_quotes_nothing(event: ErrorEvent, told: str) -> None:
    assert describe_trouble(event, "acme") == told


@pytest.mark.parametrize(
    ("label", "whose"),
    [
        ("livekit.plugins.openai.llm.LLM", "provider 'acme'"),
        ("voice_agent.fallback.FallbackLLM", "provider 'acme'"),
        ("livekit.agents.stt.stream_adapter.StreamAdapter", "provider 'acme'"),
        ("livekit.plugins.deepgram.stt.STT", "the code's own model livekit.plugins.deepgram.stt.STT"),
        ("shop.models.Chat", "the code's own model shop.models.Chat"),
    ],
)
def test_a_model_that_the_code_brings_is_not_called_the_provider_s(label: str, whose: str) -> None:
    event = ErrorEvent.model_construct(error=fail(refuse(401)).error, source=SimpleNamespace(label=label))
    assert describe_trouble(event, "acme") == f"{whose} answered 401 to a chat request"


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_refusal_that_will_be_repeated_ends_the_call_at_once(status: int) -> None:
    watched = Watched()
    watched.emit("error", fail(refuse(status), recoverable=True))
    assert watched.endings == [
        Ending(EndReason.ERROR, f"provider 'acme' answered {status} to a chat request"),
    ]


async def test_trouble_that_may_pass_is_kept_for_the_close() -> None:
    watched = Watched()
    watched.emit("error", fail(refuse(503), recoverable=True))
    assert watched.watch.trouble == ""
    watched.emit("error", fail(refuse(500)))
    assert watched.endings == []
    watched.emit("close", CloseEvent(error=None, reason=CloseReason.ERROR))
    assert watched.endings == [Ending(EndReason.ERROR, "provider 'acme' answered 500 to a chat request")]


def answer(**latencies: float) -> ConversationItemAddedEvent:
    return ConversationItemAddedEvent(item=ChatMessage(role="assistant", content=["hi"], metrics=latencies))


async def test_the_first_turn_that_fails_is_apologized_for_and_the_second_ends_the_call() -> None:
    watched = Watched()
    watched.emit("error", fail(refuse(500)))
    assert (watched.failed_turns, watched.endings) == (["llm_error"], [])
    watched.emit("error", fail(APIConnectionError(), TTSError))
    assert watched.failed_turns == ["llm_error"]
    assert watched.endings == [
        Ending(EndReason.ERROR, "provider 'acme' failed at a text-to-speech request: APIConnectionError")
    ]


async def test_what_fails_during_the_apology_is_the_same_turns() -> None:
    watched = Watched()
    watched.emit("error", fail(refuse(500)))
    watched.apologizes = True
    watched.emit("error", fail(refuse(500)))
    assert (watched.failed_turns, watched.endings) == (["llm_error"], [])


async def test_an_answer_between_two_failures_begins_the_count_anew() -> None:
    watched = Watched()
    watched.emit("error", fail(refuse(500)))
    watched.emit("conversation_item_added", answer(llm_node_ttft=0.2))
    watched.emit("error", fail(refuse(500)))
    assert (watched.failed_turns, watched.endings) == (["llm_error", "llm_error"], [])


@pytest.mark.parametrize(
    ("status", "body", "has_worked", "hopeless"),
    [
        (401, None, True, True),
        (429, None, False, False),
        (429, {"code": "insufficient_quota"}, True, True),
        (429, {"type": "insufficient_quota"}, True, True),
        (400, {"code": None}, False, True),
        (400, None, True, False),
        (400, {"code": "content_filter"}, False, False),
        (422, None, False, True),
        (500, None, False, False),
    ],
)
def test_what_will_be_repeated(status: int, body: object, has_worked: bool, hopeless: bool) -> None:
    event = fail(APIStatusError("the secret words", status_code=status, body=body))
    assert is_hopeless(event, has_worked=has_worked) == hopeless


async def test_a_wrong_parameter_ends_the_call_at_the_first_turn_and_not_once_the_part_has_worked() -> None:
    watched = Watched()
    watched.emit("conversation_item_added", answer(llm_node_ttft=0.2))
    watched.emit("error", fail(refuse(400)))
    assert watched.endings == []
    watched.emit("error", fail(refuse(400), TTSError))
    assert watched.endings == [Ending(EndReason.ERROR, "provider 'acme' answered 400 to a text-to-speech request")]


async def test_a_voice_that_is_never_understood_keeps_no_call_alive() -> None:
    watched = Watched()
    for _ in range(9):
        watched.emit("user_state_changed", UserStateChangedEvent(old_state="listening", new_state="speaking"))
        watched.emit("user_state_changed", UserStateChangedEvent(old_state="speaking", new_state="listening"))
    before = watched.activities
    assert before < 18
    watched.emit("user_input_transcribed", UserInputTranscribedEvent(transcript="yes", is_final=True))
    watched.emit("user_state_changed", UserStateChangedEvent(old_state="listening", new_state="speaking"))
    assert watched.activities == before + 2


@pytest.mark.parametrize(
    ("reason", "ending"),
    [
        (CloseReason.ERROR, Ending(EndReason.ERROR, "the agent session failed")),
        (CloseReason.PARTICIPANT_DISCONNECTED, Ending(EndReason.PARTICIPANT_LEFT)),
        (
            CloseReason.USER_INITIATED,
            Ending(EndReason.ENDED_BY_REQUEST, "the agent's code ended the conversation", by_code=True),
        ),
    ],
)
async def test_a_closed_session_ends_the_call(reason: CloseReason, ending: Ending) -> None:
    watched = Watched()
    watched.emit("close", CloseEvent(error=None, reason=reason))
    assert watched.endings == [ending]


async def test_who_speaks_holds_the_idle_clock() -> None:
    watched = Watched()
    watched.emit("agent_state_changed", AgentStateChangedEvent(old_state="listening", new_state="thinking"))
    watched.emit("user_state_changed", UserStateChangedEvent(old_state="listening", new_state="speaking"))
    assert (watched.facts.agent_busy, watched.facts.customer_speaks, watched.activities) == (True, True, 2)
    watched.emit("user_state_changed", UserStateChangedEvent(old_state="speaking", new_state="listening"))
    watched.emit("agent_state_changed", AgentStateChangedEvent(old_state="thinking", new_state="listening"))
    assert (watched.facts.agent_busy, watched.facts.customer_speaks, watched.activities) == (False, False, 4)


async def test_a_turn_is_open_from_the_customers_last_sound_until_it_is_an_item_or_answered() -> None:
    watched = Watched()
    question = ConversationItemAddedEvent(item=ChatMessage(role="user", content=["hello"]))
    answer = AgentStateChangedEvent(old_state="thinking", new_state="speaking")
    closing: list[tuple[EventTypes, AgentEvent]] = [
        ("conversation_item_added", question),
        ("agent_state_changed", answer),
    ]
    for name, event in closing:
        watched.emit("user_state_changed", UserStateChangedEvent(old_state="speaking", new_state="listening"))
        assert watched.facts.turn_open_since is not None
        watched.emit(name, event)
        assert watched.facts.turn_open_since is None


async def test_what_nobody_said_is_no_activity() -> None:
    watched = Watched()
    watched.emit("user_input_transcribed", UserInputTranscribedEvent(transcript=" ", is_final=True))
    watched.emit("user_state_changed", UserStateChangedEvent(old_state="listening", new_state="away"))
    assert watched.activities == 0
    watched.emit("user_input_transcribed", UserInputTranscribedEvent(transcript="yes", is_final=False))
    assert watched.activities == 1


async def test_a_tool_that_runs_beside_the_conversation_holds_the_idle_clock() -> None:
    watched = Watched()
    call = FunctionCall(call_id="call_1", name="find_flight", arguments="{}")
    watched.emit("tool_execution_updated", ToolExecutionUpdatedEvent(update=ToolCallStarted(function_call=call)))
    assert watched.facts.tools_running == {"call_1"}
    done = ToolCallEnded(id="call_1_final", call_id="call_1", message="199 euros", status="done")
    watched.emit("tool_execution_updated", ToolExecutionUpdatedEvent(update=done))
    assert watched.facts.tools_running == set()
    assert watched.activities == 2
