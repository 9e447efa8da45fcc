"""Guards a streamed chat completion: its words go on as they come, its tool calls whole; without either it is wrong."""

import asyncio
import logging
import re
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from livekit.agents.llm.utils import ThinkingTokenFilter, strip_thinking_tokens

from voice_agent.answers.answer import Answer, Mended, encode_event, put_back
from voice_agent.answers.events import read_events
from voice_agent.answers.tool_calls import ToolCalls, read_written_calls
from voice_agent.answers.written_calls import WordFilter
from voice_agent.answers.wrong_answer import WrongAnswerError

_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")
# What ends a turn in a model's own language. Some servers let it through.
_TOKENS = re.compile(r"<\|(?:im_end|im_start|eot_id|end_of_turn|endoftext|end)\|>|<end_of_turn>|</s>")
_DETAILS = ("prompt_tokens_details", "completion_tokens_details")

_REST_SECONDS = 0.5

_Item = TypeVar("_Item")

log = logging.getLogger(__name__)


async def mend_chat(answer: Answer) -> Mended:
    """Returns the answer as OpenAI would have streamed it, when its first word or tool call is there.

    Raises:
        WrongAnswerError: it is an error, or over without either. Reading the pieces can raise it, too.
    """
    if not answer.asked.get("stream"):
        return Mended(answer.media_type, answer.pieces)
    pieces = _stream(answer)
    try:
        first = await anext(pieces)
    except StopAsyncIteration:
        raise WrongAnswerError("nothing") from None
    return Mended("text/event-stream", put_back([first], pieces))


async def _stream(answer: Answer) -> AsyncIterator[bytes]:
    completion = _Completion(answer.asked)
    events = read_events(answer.pieces)
    # Nobody waits for the rest of an answer that says that it has ended: its counts come at once, or never.
    while (chunk := await _next(events, _REST_SECONDS if completion.reason else None)) is not None:
        for event in completion.take(chunk):
            yield event
    for event in completion.finish():
        yield event
    yield b"data: [DONE]\n\n"
    # To its end, so that the connection can serve the next question.
    while await _next(answer.pieces, _REST_SECONDS) is not None:
        pass


async def _next(items: AsyncIterator[_Item], seconds: float | None) -> _Item | None:
    """Returns the next one, or None where there is none, or not in time."""
    try:
        async with asyncio.timeout(seconds):
            return await anext(items, None)
    except TimeoutError:
        return None


@dataclass
class _Completion:
    """One answer as far as it has come."""

    asked: Mapping[str, Any]
    id: str = ""
    reason: str = ""
    has_words: bool = False
    has_thoughts: bool = False
    usage: dict[str, Any] = field(default_factory=dict)
    thinking: ThinkingTokenFilter = field(default_factory=ThinkingTokenFilter)

    def __post_init__(self) -> None:
        tools = self.asked.get("tools") or []
        self.offered = {str(tool.get("function", {}).get("name", "")) for tool in tools}
        self.calls = ToolCalls(self.offered)
        self.words = WordFilter(looks_for_calls=bool(tools))

    def take(self, chunk: Mapping[str, Any]) -> Iterator[bytes]:
        """Yields what can go on at once: words, and that a call has begun."""
        self.id = self.id or str(chunk.get("id") or f"chat-{uuid.uuid4().hex[:16]}")
        self.usage = _read_usage(chunk) or self.usage
        choice = _first_choice(chunk)
        # Some send the whole message again beside the last delta.
        delta = (choice.get("delta") if "delta" in choice else choice.get("message")) or {}
        self.reason = str(choice.get("finish_reason") or self.reason)
        self.has_thoughts |= bool(delta.get("reasoning_content") or delta.get("reasoning") or delta.get("thinking"))
        had_calls = bool(self.calls)
        for part in _read_parts(delta):
            self.calls.add(part)
        if self.calls and not had_calls:
            yield b": a tool call has begun\n\n"
        said = _read_text(delta, choice)
        text = _TOKENS.sub("", strip_thinking_tokens(said, self.thinking) or "")
        self.has_thoughts |= bool(said) and not text
        words = self.words.take(text) if text else ""
        # Nothing is said before the first word, not even an empty line.
        if words.strip() or (words and self.has_words) or delta.get("extra_content"):
            yield self._tell(words, delta)

    def finish(self) -> Iterator[bytes]:
        """Yields the rest.

        Raises:
            WrongAnswerError: there were neither words nor calls, or the server says that it has failed.
        """
        rest = self.words.take(strip_thinking_tokens("", self.thinking, final=True) or "")
        for part in read_written_calls(self.words.held, self.offered):
            log.warning("a tool call was written into the words", extra={"tool": part["function"]["name"]})
            self.calls.add(part)
        if not self.calls:
            rest += self.words.read_unread()
        if rest.strip():
            yield self._tell(rest, {})
        calls = self.calls.build()
        if not calls:
            self._refuse_nothing()
        reason = "tool_calls" if calls else self.reason or "stop"
        yield self._encode({"role": "assistant", **({"tool_calls": calls} if calls else {})}, reason)
        if self.usage:
            yield encode_event({**self._frame(), "choices": [], "usage": self.usage})

    def _refuse_nothing(self) -> None:
        if self.reason in {"error", "abort"}:
            raise WrongAnswerError(f"an answer that ends by {self.reason!r}")
        if self.has_words:
            return
        if self.reason == "content_filter":
            raise WrongAnswerError("nothing: its content filter stepped in")
        if self.words.held:
            raise WrongAnswerError("a tool call among its words that cannot be read")
        if self.has_thoughts:
            raise WrongAnswerError("thoughts and no words")
        raise WrongAnswerError("nothing: neither words nor a tool call")

    def _tell(self, words: str, delta: Mapping[str, Any]) -> bytes:
        self.has_words |= bool(words.strip())
        extra = {key: delta[key] for key in ("extra_content",) if delta.get(key)}
        return self._encode({"role": "assistant", "content": words, **extra}, None)

    def _encode(self, delta: Mapping[str, Any], reason: str | None) -> bytes:
        return encode_event({**self._frame(), "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})

    def _frame(self) -> dict[str, Any]:
        return {"id": self.id, "object": "chat.completion.chunk", "created": 0, "model": str(self.asked.get("model"))}


def _first_choice(chunk: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = chunk.get("choices")
    found = choices[0] if isinstance(choices, list) and choices else None
    return found if isinstance(found, Mapping) else {}


def _read_text(delta: Mapping[str, Any], choice: Mapping[str, Any]) -> Any:
    """Returns the words, as text or as a list of typed parts; a refusal is said as well."""
    return delta.get("content") or delta.get("refusal") or choice.get("text") or ""


def _read_parts(delta: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    parts = delta.get("tool_calls") or []
    if isinstance(parts, Mapping):
        parts = [parts]
    # OpenAI's own way before there were several.
    legacy = delta.get("function_call")
    return [part for part in (*parts, *([{"function": legacy}] if legacy else [])) if isinstance(part, Mapping)]


def _read_usage(chunk: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the counts as OpenAI gives them, or nothing where there are none."""
    found = chunk.get("usage") or (chunk.get("x_groq") or {}).get("usage")
    if not isinstance(found, Mapping):
        return {}
    usage: dict[str, Any] = {key: _read_count(found.get(key)) for key in _COUNTS}
    for key in _DETAILS:
        details = found.get(key)
        if isinstance(details, Mapping):
            usage[key] = {name: _read_count(count) for name, count in details.items()}
    return usage


def _read_count(value: object) -> int:
    return int(value) if isinstance(value, int | float) else 0
