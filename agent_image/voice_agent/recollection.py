"""What an agent that goes on with a conversation knows of it, and how it begins. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
    GO_ON = auto()  # the last sentence was cut off
    ENTER = auto()  # an agent had just taken over from another, and says its first words
    ASK = auto()  # what was said cannot be had


@dataclass(frozen=True)
class Recollection:
    """What earlier attempts have left of a conversation.

    items: in their order, a call without a result with one that says so. cut_off: the last one is a sentence that was
    never ended. agent_id: which agent of several had it; None: the first. handed_off: its last event was the handoff to
    that one. userdata: of the agent session, where it was kept; saved: by the agent's code. typed: how many bytes, by
    participant. is_lost: there was something, and it cannot be read.
    """

    items: tuple[ChatItem, ...] = ()
    cut_off: bool = False
    agent_id: str | None = None
    handed_off: bool = False
    userdata: Any = None
    saved: Mapping[str, Any] = field(default_factory=dict)
    typed: Mapping[str, int] = field(default_factory=dict)
    is_lost: bool = False


def build_recollection(
    rows: Sequence[Mapping[str, Any]], memory: Mapping[str, Any], *, cut_off: bool = False
) -> Recollection:
    """Returns what is in a conversation's rows, which are in their order, and in what was kept beside them.

    `cut_off`: the agent's last sentence is, though its row may not tell.
    """
    handoffs = [row["tool"]["to"] for row in rows if row["kind"] == "handoff"]
    return Recollection(
        items=tuple(_with_results(restore_items(rows))),
        agent_id=handoffs[-1] if handoffs else None,
        cut_off=cut_off or (bool(rows) and rows[-1]["provisional"]),
        handed_off=bool(rows) and rows[-1]["kind"] == "handoff",
        userdata=memory.get("userdata"),
        saved=memory.get("saved", {}),
        typed=memory.get("typed", {}),
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
    if not isinstance(last, ChatMessage) or last.role != "assistant":
        return Opening.ANSWER
    return Opening.GO_ON if known.cut_off else Opening.WAIT


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
