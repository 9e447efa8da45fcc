"""What an agent that goes on with a conversation knows of it, and how it begins. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from livekit.agents.llm import ChatItem, ChatMessage, FunctionCall, FunctionCallOutput

from voice_agent.conversation_items import restore_items

# What the model is told of a tool's call that has no result: it may have done its work, or not.
OUTCOME_UNKNOWN = "interrupted, outcome unknown"


class Opening(Enum):
    """How an agent begins."""

    GREET = auto()  # nobody has said anything yet
    WAIT = auto()  # the customer has the word
    ANSWER = auto()  # the customer waits for an answer
    ENTER = auto()  # an agent had just taken over from another, and says its first words
    ASK = auto()  # what was said cannot be had


@dataclass(frozen=True)
class Recollection:
    """What earlier attempts have left of a conversation.

    items: in their order, a call without a result with one that says so. agent_id: which agent of several had it; None:
    the first. handed_off: its last event was the handoff to that one. is_lost: there was something, and it cannot be
    read.
    """

    items: tuple[ChatItem, ...] = ()
    agent_id: str | None = None
    handed_off: bool = False
    is_lost: bool = False


def build_recollection(rows: Iterable[Mapping[str, Any]]) -> Recollection:
    """Returns what is in a conversation's rows, which are in their order."""
    rows = list(rows)
    handoffs = [row["tool"]["to"] for row in rows if row["kind"] == "handoff"]
    return Recollection(
        items=tuple(_with_results(restore_items(rows))),
        agent_id=handoffs[-1] if handoffs else None,
        handed_off=bool(rows) and rows[-1]["kind"] == "handoff",
    )


def decide_opening(known: Recollection) -> Opening:
    """Returns how an agent that knows this begins."""
    if known.is_lost:
        return Opening.ASK
    if not known.items:
        return Opening.GREET
    if known.handed_off:
        return Opening.ENTER
    last = known.items[-1]
    return Opening.WAIT if isinstance(last, ChatMessage) and last.role == "assistant" else Opening.ANSWER


def _with_results(items: list[ChatItem]) -> list[ChatItem]:
    """Returns the items with a result after each call that has none: models refuse one without."""
    answered = {item.call_id for item in items if isinstance(item, FunctionCallOutput)}
    complete: list[ChatItem] = []
    for item in items:
        complete.append(item)
        if isinstance(item, FunctionCall) and item.call_id not in answered:
            complete.append(
                FunctionCallOutput(
                    name=item.name,
                    call_id=item.call_id,
                    output=OUTCOME_UNKNOWN,
                    is_error=True,
                    created_at=item.created_at,
                )
            )
    return complete
