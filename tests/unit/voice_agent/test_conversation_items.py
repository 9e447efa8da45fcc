"""Chat items as rows of the conversation, and rows as chat items again."""

from datetime import UTC, datetime
from typing import Any

from livekit.agents import AgentHandoff, AgentSession, ChatMessage, FunctionToolsExecutedEvent
from livekit.agents.llm import AudioContent, FunctionCall, FunctionCallOutput, ImageContent
from livekit.agents.metrics import LLMModelUsage, TTSModelUsage

from voice_agent.conversation_items import build_latencies, build_rows, build_tool_rows, build_usage, restore_items

AT = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


def as_stored(row: dict[str, Any]) -> dict[str, Any]:
    """Returns a row as the database gives it back."""
    return {
        "item_id": row["itemId"],
        "kind": row["kind"],
        "role": row.get("role"),
        "content": row.get("content"),
        "interrupted": row.get("interrupted", False),
        "created_at": datetime.fromisoformat(row["createdAt"]),
        "tool": row.get("tool"),
    }


def test_a_message_as_it_was_heard() -> None:
    message = ChatMessage(
        id="item_1",
        role="assistant",
        content=["I have a ta"],
        interrupted=True,
        created_at=AT.timestamp(),
        metrics={"llm_node_ttft": 0.1204, "tts_node_ttfb": 0.2, "e2e_latency": 0.9, "started_speaking_at": 5.0},
    )
    (row,) = build_rows(message)
    assert row == {
        "itemId": "item_1",
        "kind": "message",
        "role": "assistant",
        "content": "I have a ta",
        "interrupted": True,
        "createdAt": "2026-01-01T12:00:00+00:00",
        "latencies": {"llmFirstTokenMillis": 120, "ttsFirstByteMillis": 200, "answerMillis": 900},
    }


def test_what_nobody_said_is_no_row() -> None:
    instructions = ChatMessage(id="lk.agent_task.instructions", role="system", content=["be kind"])
    assert build_rows(instructions) == build_rows(ChatMessage(role="user", content=[" "])) == []
    assert build_rows(AgentHandoff(old_agent_id=None, new_agent_id="order_taker")) == []


def test_a_handoff() -> None:
    (row,) = build_rows(AgentHandoff(id="item_h", old_agent_id="order_taker", new_agent_id="dispatcher"))
    assert row["kind"] == "handoff"
    assert row["tool"] == {"from": "order_taker", "to": "dispatcher"}


def test_what_the_code_has_added_and_what_is_no_text() -> None:
    (summary,) = build_rows(ChatMessage(role="system", content=["They booked a table."]))
    assert (summary["role"], summary["content"]) == ("system", "They booked a table.")
    heard = AudioContent(frame=[], transcript="look at this")
    (shown,) = build_rows(ChatMessage(role="user", content=[heard, ImageContent(image="https://acme.test/a.png")]))
    assert shown["content"] == "look at this\n[image]"
    (sound,) = build_rows(ChatMessage(role="user", content=[AudioContent(frame=[])]))
    assert sound["content"] == "[audio]"


def build_tools_event(arguments: str) -> FunctionToolsExecutedEvent:
    call = FunctionCall(id="item_c", call_id="call_1", name="add_pizza", arguments=arguments, created_at=AT.timestamp())
    output = FunctionCallOutput(id="item_o", call_id="call_1", name="add_pizza", output="One.", is_error=False)
    return FunctionToolsExecutedEvent(function_calls=[call], function_call_outputs=[output])


def test_a_tool_call_and_its_result() -> None:
    call, result = build_tool_rows(build_tools_event('{"pizza": "funghi"}'))
    assert (call["kind"], call["itemId"]) == ("tool_call", "item_c")
    assert call["tool"] == {"name": "add_pizza", "callId": "call_1", "arguments": {"pizza": "funghi"}}
    assert (result["kind"], result["content"]) == ("tool_result", "One.")
    assert result["tool"] == {"name": "add_pizza", "callId": "call_1", "isError": False}


def test_arguments_that_are_no_json_are_kept() -> None:
    call, _ = build_tool_rows(build_tools_event("funghi"))
    assert call["tool"]["arguments"] == "funghi"


def test_a_conversation_comes_back_whole() -> None:
    said = ChatMessage(id="item_1", role="user", content=["a funghi"], created_at=AT.timestamp())
    cut = ChatMessage(id="item_2", role="assistant", content=["One fun"], interrupted=True, created_at=AT.timestamp())
    event = build_tools_event('{"pizza": "funghi"}')
    handoff = AgentHandoff(old_agent_id="a", new_agent_id="b")
    rows = [*build_rows(said), *build_tool_rows(event), *build_rows(cut), *build_rows(handoff)]
    restored = restore_items([as_stored(row) for row in rows])
    assert [item.id for item in restored] == ["item_1", "item_c", "item_o", "item_2"]
    first, call, result, last = restored
    assert isinstance(first, ChatMessage)
    assert (first.role, first.text_content, first.created_at) == ("user", "a funghi", AT.timestamp())
    assert isinstance(call, FunctionCall)
    assert (call.call_id, call.name, call.arguments) == ("call_1", "add_pizza", '{"pizza": "funghi"}')
    assert isinstance(result, FunctionCallOutput)
    assert (result.call_id, result.output, result.is_error) == ("call_1", "One.", False)
    assert isinstance(last, ChatMessage)
    assert last.interrupted


def test_latencies_are_whole_milliseconds() -> None:
    assert build_latencies({"transcription_delay": 0.0456, "end_of_turn_delay": 0.5}) == {
        "transcriptionMillis": 46,
        "endOfTurnMillis": 500,
    }


async def test_what_a_models_use_was_in_all_sessions_of_a_call() -> None:
    first, second = AgentSession[None](vad=None), AgentSession[None](vad=None)
    first._usage_collector._llm_usage["a", "chat"] = LLMModelUsage(provider="a", model="chat", input_tokens=3)
    second._usage_collector._llm_usage["a", "chat"] = LLMModelUsage(provider="a", model="chat", input_tokens=4)
    second._usage_collector._tts_usage["a", "voice"] = TTSModelUsage(provider="a", model="voice", audio_duration=1.5)
    assert build_usage([first, second]) == {
        "models": [
            {"type": "llm_usage", "provider": "a", "model": "chat", "input_tokens": 7},
            {"type": "tts_usage", "provider": "a", "model": "voice", "audio_duration": 1.5},
        ]
    }
    assert build_usage([]) == {}
