"""What one agent tells the next by word of mouth, and what the next makes of it."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from voice_agent.conversation_items import POSITIONS_PER_ATTEMPT
from voice_agent.handed_state import (
    LARGEST_MEMORY,
    LARGEST_ROWS,
    HandedState,
    build_state,
    merge_rows,
    newest,
    read_state,
)

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
FIRST = POSITIONS_PER_ATTEMPT + 1


def told(position: int, content: str = "so") -> dict[str, Any]:
    at = BEGAN + timedelta(seconds=position - FIRST)
    return {
        "itemId": f"item-{position}",
        "position": position,
        "kind": "message",
        "role": "user",
        "content": content,
        "createdAt": at.isoformat(),
    }


def stored(position: int, content: str = "so") -> dict[str, Any]:
    return {
        "item_id": f"item-{position}",
        "position": position,
        "kind": "message",
        "role": "user",
        "content": content,
        "interrupted": False,
        "provisional": False,
        "created_at": BEGAN + timedelta(seconds=position - FIRST),
        "tool": None,
    }


def test_what_the_database_may_not_have_yet_comes_on_top() -> None:
    rows = merge_rows([stored(FIRST), stored(FIRST + 1, "half")], [told(FIRST + 1, "whole"), told(FIRST + 2)])
    assert rows == [stored(FIRST), stored(FIRST + 1, "whole"), stored(FIRST + 2)]


def test_the_newest_rows_are_told_as_far_as_a_line_holds_them() -> None:
    rows = [told(FIRST + number, "x" * 1000) for number in range(100)]
    kept = newest(rows)
    assert kept == rows[-len(kept) :]
    assert LARGEST_ROWS - 2000 < len(json.dumps(kept)) < LARGEST_ROWS + 2000
    assert newest([told(FIRST, "x" * LARGEST_ROWS)]) == []


def test_what_was_kept_is_told_where_it_is_small_enough() -> None:
    kept = {"userdata": {"note": "blue"}, "saved": {"text": "x" * LARGEST_MEMORY}}
    assert build_state([], kept).memory == {"userdata": {"note": "blue"}}


def test_it_comes_back_as_it_was_told() -> None:
    state = build_state([told(FIRST)], {"userdata": {"note": "blue"}}, cut_off=True)
    assert read_state(json.loads(json.dumps(state.to_wire()))) == state


def test_another_version_of_it_is_nothing() -> None:
    assert read_state({"rows": "none"}) == HandedState()
