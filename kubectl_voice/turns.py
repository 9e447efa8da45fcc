"""What a conversation's rows say of its answers: how long each took, and what took the time. Pure."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from conversations.reader import TranscriptItem

# The parts of an answer, as the runtime measures them, and what a person calls them.
PARTS = {
    "transcriptionMillis": "speech-to-text",
    "endOfTurnMillis": "the end of the turn",
    "llmFirstTokenMillis": "the chat model",
    "ttsFirstByteMillis": "text-to-speech",
}
_ANSWER = "answerMillis"


@dataclass(frozen=True, slots=True)
class Turn:
    """One answer of an agent. `answer_millis`: from the customer's last sound to the first of the answer."""

    at: datetime
    attempt: int
    answer_millis: int | None
    parts: Mapping[str, int]
    interrupted: bool


def read_turns(items: Iterable[TranscriptItem]) -> tuple[Turn, ...]:
    """Returns the answers in a conversation, each with the latencies of its question."""
    turns: list[Turn] = []
    question: Mapping[str, int] = {}
    for item in items:
        if item.kind != "message":
            continue
        latencies = item.latencies or {}
        if item.role == "user":
            question = latencies
        elif item.role == "assistant":
            values = {**question, **latencies}
            parts = {name: int(values[name]) for name in PARTS if name in values}
            turns.append(Turn(item.created_at, item.attempt, values.get(_ANSWER), parts, item.interrupted))
            question = {}
    return tuple(turns)


def median_answer(turns: Sequence[Turn]) -> int | None:
    """Returns the median answer in milliseconds, or None where none was measured."""
    known = [turn.answer_millis for turn in turns if turn.answer_millis is not None]
    return round(statistics.median(known)) if known else None


def slowest_part(turns: Sequence[Turn]) -> str | None:
    """Returns what takes the most time in the median of these answers, in a person's words."""
    medians = {
        name: statistics.median(values)
        for name in PARTS
        if (values := [turn.parts[name] for turn in turns if name in turn.parts])
    }
    return PARTS[max(medians, key=lambda name: medians[name])] if medians else None
