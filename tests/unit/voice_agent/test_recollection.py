"""What an agent that goes on with a conversation knows of it, and how it begins."""

from datetime import UTC, datetime
from typing import Any

import pytest
from livekit.agents.llm import FunctionCall, FunctionCallOutput

from voice_agent.recollection import OUTCOME_UNKNOWN, Opening, Recollection, build_recollection, decide_opening

Row = dict[str, Any]


def row(kind: str, role: str | None = None, content: str | None = None, tool: Row | None = None) -> Row:
    """Returns a row as the database gives it back."""
    at = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
    fields = {
        "role": role,
        "content": content,
        "tool": tool,
        "interrupted": False,
        "created_at": at,
        "provisional": False,
    }
    return {"item_id": f"{kind}-{content}", "kind": kind, **fields}


def said(role: str, content: str) -> Row:
    return row("message", role, content)


def called(call_id: str) -> Row:
    return row("tool_call", "assistant", call_id, {"name": "add_pizza", "callId": call_id, "arguments": {"a": 1}})


def returned(call_id: str) -> Row:
    return row("tool_result", "tool", call_id, {"name": "add_pizza", "callId": call_id, "isError": False})


def handed_to(agent: str) -> Row:
    return row("handoff", tool={"from": "order_taker", "to": agent})


GREETED, ASKED = said("assistant", "Hello."), said("user", "Is it open?")


@pytest.mark.parametrize(
    ("rows", "opening"),
    [
        ([], Opening.GREET),
        ([GREETED], Opening.WAIT),
        ([GREETED, ASKED], Opening.ANSWER),
        ([GREETED, ASKED, {**GREETED, "provisional": True}], Opening.GO_ON),
        ([GREETED, {**ASKED, "provisional": True}], Opening.ANSWER),
        ([GREETED, ASKED, called("1")], Opening.ANSWER),
        ([GREETED, ASKED, called("1"), returned("1")], Opening.ANSWER),
        ([GREETED, ASKED, called("1"), returned("1"), handed_to("dispatcher")], Opening.ENTER),
        ([GREETED, ASKED, handed_to("dispatcher"), GREETED], Opening.WAIT),
    ],
)
def test_who_speaks_first(rows: list[Row], opening: Opening) -> None:
    assert decide_opening(build_recollection(rows, {})) is opening


def test_what_cannot_be_read_is_asked_for() -> None:
    assert decide_opening(Recollection(is_lost=True)) is Opening.ASK


def test_the_agent_that_had_it_last() -> None:
    assert build_recollection([GREETED], {}).agent_id is None
    known = build_recollection([handed_to("dispatcher"), handed_to("cook"), GREETED], {})
    assert (known.agent_id, known.handed_off) == ("cook", False)


def test_a_call_without_a_result_has_an_unknown_outcome() -> None:
    first, result, second, unknown = build_recollection([called("1"), returned("1"), called("2")], {}).items
    assert isinstance(result, FunctionCallOutput)
    assert not result.is_error
    assert isinstance(first, FunctionCall)
    assert isinstance(second, FunctionCall)
    assert isinstance(unknown, FunctionCallOutput)
    assert (unknown.call_id, unknown.name, unknown.output) == ("2", "add_pizza", OUTCOME_UNKNOWN)
    assert unknown.is_error
