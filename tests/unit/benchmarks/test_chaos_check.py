"""What the program that judges chaos finds in what is left."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from benchmarks.call_stage import Row
from benchmarks.chaos_check import Left, count_lost_rows, has_settled, is_clean, judge, overlaps
from voicesession.names import CLAIMED, STATE_LABEL, WARM

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


def said(role: str, number: int, attempt: int = 1, after: float = 0) -> Row:
    return {
        "session_id": "call-1",
        "kind": "message",
        "role": role,
        "content": f"Remark {number} about the weather.",
        "attempt": attempt,
        "created_at": (NOW + timedelta(seconds=after)).isoformat(),
    }


def pod(state: str, **metadata: Any) -> Row:
    return {"metadata": {"labels": {STATE_LABEL: state}, **metadata}}


CLEAN = Left(
    sessions=[{"metadata": {"uid": "call-1"}, "status": {"phase": "Ended", "roomSid": "RM_1"}}],
    pods=[pod(WARM)],
    faults=3,
    conversations=[{"session_id": "call-1", "room_id": "room-1", "ended_at": "2026-01-01T12:01:00Z"}],
    messages=[said(role, number) for number in (1, 2, 3) for role in ("user", "assistant")],
    rooms=["somebody-elses"],
)


def test_all_is_well() -> None:
    found = judge(CLEAN)
    assert (found["faults"], found["calls"], found["remarks"]) == (3, 1, 3)
    assert is_clean(found)


SESSION, CONVERSATION = CLEAN.sessions[0], CLEAN.conversations[0]


@pytest.mark.parametrize(
    ("figure", "left"),
    [
        ("unended", replace(CLEAN, sessions=[{**SESSION, "status": {"phase": "Active"}}])),
        ("unended", replace(CLEAN, sessions=[{"metadata": {"uid": "call-1"}}])),
        ("unended", replace(CLEAN, conversations=[{**CONVERSATION, "ended_at": None}])),
        ("doubled", replace(CLEAN, sessions=[SESSION, {**SESSION, "metadata": {"uid": "call-2"}}])),
        ("doubled", replace(CLEAN, conversations=[CONVERSATION, {**CONVERSATION, "session_id": "call-2"}])),
        ("doubled", replace(CLEAN, messages=[said("assistant", 1, after=20), said("assistant", 2, attempt=2)])),
        ("pods_leaked", replace(CLEAN, pods=[pod(CLAIMED)])),
        ("pods_leaked", replace(CLEAN, pods=[pod(WARM, deletionTimestamp="2026-01-01T12:00:00Z")])),
        ("rooms_leaked", replace(CLEAN, rooms=["room-1"])),
        ("rows_lost", replace(CLEAN, messages=CLEAN.messages[1:])),
        ("rows_lost", replace(CLEAN, messages=[*CLEAN.messages[:3], *CLEAN.messages[4:]])),
    ],
)
def test_each_fault_is_found_once(figure: str, left: Left) -> None:
    found = judge(left)
    figures = ("unended", "doubled", "rows_lost", "pods_leaked", "rooms_leaked")
    assert {name: found[name] for name in figures if found[name]} == {figure: 1}
    assert not is_clean(found)
    assert has_settled(found) == (figure in {"doubled", "rows_lost"})


def test_the_last_remark_may_be_without_an_answer_and_any_may_be_said_twice() -> None:
    assert count_lost_rows([said("user", 1), said("user", 1), said("assistant", 1), said("user", 2)]) == 0
    assert count_lost_rows([]) == 0


def test_what_an_agent_had_begun_to_say_may_end_after_the_next_one_has_come() -> None:
    assert not overlaps([said("assistant", 1, after=2), said("assistant", 1, attempt=2)])
