"""A reply in the shapes of OpenAI's chat completions."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from local_models.partner import CallTool, Reply, Say
from local_models.request_bodies import Message

MODEL = "rule-based-partner"


def build_usage(messages: Sequence[Message], reply: Reply) -> dict[str, int]:
    """Returns OpenAI's usage; a token here is a word."""
    asked = sum(len(message.text.split()) for message in messages)
    answered = len(reply.text.split()) if isinstance(reply, Say) else 1 + len(reply.arguments)
    return {"prompt_tokens": asked, "completion_tokens": answered, "total_tokens": asked + answered}


def build_completion(reply: Reply, *, answer_id: str, created: int, usage: dict[str, int]) -> dict[str, Any]:
    """Returns the body of an answer in one piece. `created`: seconds since 1970."""
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    if isinstance(reply, Say):
        message["content"] = reply.text
    else:
        message["tool_calls"] = [_tool_call(reply, answer_id)]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish_reason(reply)}
    return _envelope("chat.completion", answer_id, created, [choice]) | {"usage": usage}


def build_chunks(
    reply: Reply, *, answer_id: str, created: int, usage: dict[str, int] | None
) -> Iterator[dict[str, Any]]:
    """Yields the chunks of a streamed answer, word by word, and with `usage` a last one that carries it."""
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    if isinstance(reply, Say):
        deltas += [{"content": word} for word in re.findall(r"\s*\S+", reply.text)]
    else:
        deltas.append({"tool_calls": [{"index": 0} | _tool_call(reply, answer_id)]})
    for delta in deltas:
        yield _chunk(answer_id, created, [{"index": 0, "delta": delta, "finish_reason": None}])
    yield _chunk(answer_id, created, [{"index": 0, "delta": {}, "finish_reason": _finish_reason(reply)}])
    if usage is not None:
        yield _chunk(answer_id, created, []) | {"usage": usage}


def _finish_reason(reply: Reply) -> str:
    return "stop" if isinstance(reply, Say) else "tool_calls"


def _tool_call(reply: CallTool, answer_id: str) -> dict[str, Any]:
    function = {"name": reply.name, "arguments": json.dumps(reply.arguments)}
    return {"id": answer_id.replace("chatcmpl-", "call_"), "type": "function", "function": function}


def _chunk(answer_id: str, created: int, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return _envelope("chat.completion.chunk", answer_id, created, choices)


def _envelope(kind: str, answer_id: str, created: int, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": answer_id, "object": kind, "created": created, "model": MODEL, "choices": choices}
