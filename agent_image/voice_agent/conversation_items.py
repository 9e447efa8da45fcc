"""LiveKit's chat items as rows of the conversation, and back. Pure."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from livekit.agents import AgentHandoff, AgentSession, ChatMessage, FunctionToolsExecutedEvent
from livekit.agents.llm import (
    AudioContent,
    ChatContent,
    ChatItem,
    FunctionCall,
    FunctionCallOutput,
    ImageContent,
    MetricsReport,
)

Row = dict[str, Any]

# Attempts number their items from here on each, so that a successor's rows follow its predecessor's.
POSITIONS_PER_ATTEMPT = 1_000_000

# Under this id a chat context holds what the agent is told to be, which is said by nobody.
_INSTRUCTIONS = "lk.agent_task.instructions"

_LATENCIES = {
    "transcription_delay": "transcriptionMillis",
    "end_of_turn_delay": "endOfTurnMillis",
    "llm_node_ttft": "llmFirstTokenMillis",
    "tts_node_ttfb": "ttsFirstByteMillis",
    "e2e_latency": "answerMillis",
}


def build_rows(item: object) -> list[Row]:
    """Returns the rows, without positions, for one item of a conversation; none for what nobody said or did."""
    if isinstance(item, ChatMessage):
        return [_message_row(item)] if item.id != _INSTRUCTIONS and _text_of(item).strip() else []
    if isinstance(item, FunctionCall):
        return [build_call_row(item)]
    if isinstance(item, FunctionCallOutput):
        return [_result_row(item)]
    if isinstance(item, AgentHandoff) and item.old_agent_id is not None:
        tool = {"from": item.old_agent_id, "to": item.new_agent_id}
        return [_row(item.id, "handoff", item.created_at, tool=tool)]
    return []


def build_tool_rows(event: FunctionToolsExecutedEvent) -> list[Row]:
    """Returns the rows, without positions, of tool calls and their results, as they were asked for."""
    rows = []
    for call, output in event.zipped():
        rows.append(build_call_row(call))
        rows.append(_result_row(output, call.name))
    return rows


def build_call_row(call: FunctionCall) -> Row:
    """Returns the row, without a position, of a tool's call."""
    tool = {"name": call.name, "callId": call.call_id, "arguments": _parse_arguments(call.arguments)}
    return _row(call.id, "tool_call", call.created_at, role="assistant", tool=tool)


def build_latencies(metrics: MetricsReport) -> dict[str, int]:
    """Returns the measured parts of a turn in whole milliseconds."""
    values: Mapping[str, Any] = metrics
    return {name: round(1000 * values[key]) for key, name in _LATENCIES.items() if values.get(key) is not None}


def build_usage(sessions: Iterable[AgentSession[Any]]) -> dict[str, object]:
    """Returns what each model has been used for in these sessions together, without zeros."""
    models: dict[tuple[str, str, str], dict[str, Any]] = {}
    for usage in (usage for session in sessions for usage in session.usage.model_usage):
        total = models.setdefault((usage.type, usage.provider, usage.model), {})
        for key, value in usage.model_dump().items():
            if value:
                total[key] = value if isinstance(value, str) else total.get(key, 0) + value
    return {"models": list(models.values())} if models else {}


def count_usage(session: AgentSession[Any]) -> dict[str, int]:
    """Returns the session's token and character counts so far, over all models."""
    total: dict[str, int] = {}
    for usage in session.usage.model_usage:
        for field, name in (
            ("input_tokens", "inputTokens"),
            ("output_tokens", "outputTokens"),
            ("characters_count", "characters"),
        ):
            total[name] = total.get(name, 0) + int(getattr(usage, field, 0) or 0)
    return total


def restore_items(rows: Iterable[Mapping[str, Any]]) -> list[ChatItem]:
    """Returns the chat items in stored rows, in their order: what an agent that takes over has to know."""
    return [item for row in rows if (item := _restore(row)) is not None]


def _row(item_id: str, kind: str, created_at: float, **fields: Any) -> Row:
    return {
        "itemId": item_id,
        "kind": kind,
        "createdAt": datetime.fromtimestamp(created_at, UTC).isoformat(),
        **{name: value for name, value in fields.items() if value is not None},
    }


def _message_row(message: ChatMessage) -> Row:
    return _row(
        message.id,
        "message",
        message.created_at,
        role=message.role,
        content=_text_of(message),
        interrupted=message.interrupted,
        latencies=build_latencies(message.metrics) or None,
    )


def _parse_arguments(arguments: str) -> Any:
    """Returns the arguments as JSON; as they are where the model did not write any."""
    try:
        return json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments


def _result_row(output: FunctionCallOutput, name: str = "") -> Row:
    tool = {"name": output.name or name, "callId": output.call_id, "isError": output.is_error}
    return _row(output.id, "tool_result", output.created_at, role="tool", content=output.output, tool=tool)


def _text_of(message: ChatMessage) -> str:
    """Returns a message's words, and a word for what is no text."""
    return "\n".join(filter(None, (_describe(part) for part in message.content)))


def _describe(part: ChatContent) -> str:
    if isinstance(part, AudioContent):
        return part.transcript or "[audio]"
    if isinstance(part, ImageContent):
        return "[image]"
    return part if isinstance(part, str) else ""


def _restore(row: Mapping[str, Any]) -> ChatItem | None:
    created_at = row["created_at"].timestamp()
    tool: Mapping[str, Any] = row["tool"] or {}
    if row["kind"] == "message":
        return ChatMessage(
            id=row["item_id"],
            role=row["role"],
            content=[row["content"] or ""],
            interrupted=row["interrupted"],
            created_at=created_at,
        )
    if row["kind"] == "tool_call":
        arguments = tool.get("arguments", "{}")
        return FunctionCall(
            id=row["item_id"],
            call_id=tool["callId"],
            name=tool["name"],
            arguments=arguments if isinstance(arguments, str) else json.dumps(arguments),
            created_at=created_at,
        )
    if row["kind"] == "tool_result":
        return FunctionCallOutput(
            id=row["item_id"],
            call_id=tool["callId"],
            name=tool["name"],
            output=row["content"] or "",
            is_error=bool(tool.get("isError")),
            created_at=created_at,
        )
    return None
