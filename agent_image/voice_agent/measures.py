"""Counts and times what a call's agent sessions do; the operator is told at each answer or failure, and at the end."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from livekit.agents import (
    AgentSession,
    AgentStateChangedEvent,
    ChatMessage,
    ConversationItemAddedEvent,
    ErrorEvent,
    UserStateChangedEvent,
)
from livekit.agents.llm import MetricsReport

from voice_agent.conversation_items import build_latencies
from voice_agent.endings import CallFacts
from voicesession import clock
from voicesession.measures import FailureOutcome, FirstWord, Measured, ModelFailures, ModelName, ModelUse, Turn
from voicesession.provider_keys import Part

_USED_PARTS: dict[str, Part] = {"stt_usage": "stt", "llm_usage": "llm", "tts_usage": "tts"}
_FAILED_PARTS = {"stt_error": "stt", "llm_error": "llm", "tts_error": "tts", "realtime_model_error": "realtime"}
_AMOUNTS = ("input_tokens", "cached_tokens", "output_tokens", "characters", "speech_seconds")
# A customer who comes no later after the agent was there before it: the room's participants are read one by one.
_AT_ONCE = 0.05
_LONGEST_NAME = 100
# Of anything in one message; more is nonsense, and is not told.
_MOST = 1_000_000

_Model = tuple[Part, str, str]  # its part, its provider's name, its own


@dataclass
class Measures:
    """What is measured of one call, until it is told. `name_provider`: whose a model is, by its host and name."""

    facts: CallFacts
    name_provider: Callable[[str, str], str]
    tell: Callable[[Measured], None]
    connect_millis: int | None = None  # of the room, until it is told
    expects_first_word: bool = False  # the agent has said nothing, and is the first to speak
    _sessions: list[AgentSession[Any]] = field(default_factory=list)
    _told: dict[_Model, dict[str, float]] = field(default_factory=dict)
    _failures: Counter[tuple[str, str, FailureOutcome]] = field(default_factory=Counter)

    def attach(self, session: AgentSession[Any]) -> None:
        """Listens to one more session from now on; to be called before it does anything."""
        self._sessions.append(session)
        question: dict[str, int] = {}  # the latencies of what was said to it last
        session.on("conversation_item_added", lambda event: self._on_item(event, question))
        session.on("agent_state_changed", self._on_agent_state)
        session.on("user_state_changed", self._on_customer_state)
        session.on("error", self._on_error)

    def count_fallback(self, provider: str, part: Part) -> None:
        """Counts a failure of a model that has another one behind it."""
        self._failures[part, provider, "fallback"] += 1

    def tell_rest(self) -> None:
        """Tells what has not been told: at the end of the call."""
        self._tell(Measured(at=clock.now()))

    def _tell(self, measured: Measured) -> None:
        failures = [
            ModelFailures(part=part, provider=provider, outcome=outcome, count=count)
            for (part, provider, outcome), count in self._failures.items()
        ]
        rest = {"connect_millis": self.connect_millis, "used": self._used_since(), "failures": failures}
        full = measured.model_copy(update=rest)
        self.connect_millis = None
        self._failures.clear()
        if full != Measured(at=full.at):
            self.tell(full)

    def _on_item(self, event: ConversationItemAddedEvent, question: dict[str, int]) -> None:
        message = event.item
        if not isinstance(message, ChatMessage):
            return
        latencies = {name: max(0, millis) for name, millis in build_latencies(message.metrics).items()}
        if message.role == "user":
            self.expects_first_word = False
            question.update(latencies)
        elif message.role == "assistant":
            turn = self._build_turn({**question, **latencies}, message.metrics) if latencies else None
            question.clear()
            self._tell(Measured(at=clock.now(), turn=turn, replies=1, interrupted=int(message.interrupted)))

    def _build_turn(self, latencies: Mapping[str, int], metrics: MetricsReport) -> Turn:
        models = {"llm": self._read_model(metrics, "llm_metadata"), "tts": self._read_model(metrics, "tts_metadata")}
        return Turn.model_validate({**latencies, **models})

    def _read_model(self, metrics: Mapping[str, Any], key: str) -> ModelName | None:
        told = metrics.get(key)
        return self._name(told.get("model_provider"), told.get("model_name")) if told else None

    def _name(self, host: object, model: object) -> ModelName:
        its_host, its_model = (str(each or "")[:_LONGEST_NAME] for each in (host, model))
        return ModelName(provider=self.name_provider(its_host, its_model), model=its_model)

    def _on_agent_state(self, event: AgentStateChangedEvent) -> None:
        came_at, joined_at = self.facts.customer_came_at, self.facts.joined_at
        if event.new_state != "speaking" or not self.expects_first_word or came_at is None or joined_at is None:
            return
        self.expects_first_word = False
        late = came_at - joined_at > _AT_ONCE
        millis = round(1000 * (time.monotonic() - came_at)) if late else None
        self._tell(Measured(at=clock.now(), first_word=FirstWord(millis=millis)))

    def _on_customer_state(self, event: UserStateChangedEvent) -> None:
        if event.new_state == "speaking":
            self.expects_first_word = False

    def _on_error(self, event: ErrorEvent) -> None:
        part = _FAILED_PARTS.get(getattr(event.error, "type", ""))
        if part is None:
            return
        whose = self._name(getattr(event.source, "provider", ""), getattr(event.source, "model", ""))
        is_retried = getattr(event.error, "recoverable", False)
        self._failures[part, whose.provider, "retried" if is_retried else "failed"] += 1
        if not is_retried:
            self._tell(Measured(at=clock.now()))  # there may be no answer for a long time

    def _used_since(self) -> list[ModelUse]:
        """Returns what models were used for since this was last asked."""
        total: dict[_Model, dict[str, float]] = {}
        for usage in (usage for session in self._sessions for usage in session.usage.model_usage):
            part = _USED_PARTS.get(usage.type)
            if part is None:
                continue
            whose = self._name(usage.provider, usage.model)
            amounts = total.setdefault((part, whose.provider, whose.model), dict.fromkeys(_AMOUNTS, 0))
            for name, amount in _read_amounts(usage).items():
                amounts[name] += amount
        before, self._told = self._told, total
        since = {
            model: {
                name: min(max(0, amount - before.get(model, {}).get(name, 0)), _MOST)
                for name, amount in amounts.items()
            }
            for model, amounts in total.items()
        }
        return [
            ModelUse.model_validate({"part": part, "provider": provider, "model": model, **amounts})
            for (part, provider, model), amounts in since.items()
            if any(amounts.values())
        ]


def _read_amounts(usage: Any) -> dict[str, float]:
    """Returns a usage of livekit-agents' by our names; what a kind of model does not have is 0."""
    return {
        "input_tokens": getattr(usage, "input_tokens", 0),
        "cached_tokens": getattr(usage, "input_cached_tokens", 0),
        "output_tokens": getattr(usage, "output_tokens", 0),
        "characters": getattr(usage, "characters_count", 0),
        "speech_seconds": getattr(usage, "audio_duration", 0.0),
    }
