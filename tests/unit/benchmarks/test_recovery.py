"""What the benchmark of recovery calls lost, and doubled."""

import pytest

from benchmarks.call_stage import Row
from benchmarks.recovery import STORY, compare
from testing.customer import Transcribed

HEARD = [
    Transcribed("agent", "Hello, how can I help you?", 1),
    Transcribed("ada", STORY, 2),
    Transcribed("ada", "What is my name?", 4),
    Transcribed("agent", "Your name is Ada.", 5),
]


def row(position: int, role: str, content: str, attempt: int = 1, interrupted: bool = False) -> Row:
    fields = {"kind": "message", "attempt": attempt, "position": position, "interrupted": interrupted}
    return {"role": role, "content": content, **fields}


ROWS = [
    row(1, "assistant", "Hello, how can I help you?"),
    row(2, "user", STORY),
    row(3, "assistant", "Once upon a time", interrupted=True),
    row(4, "user", "What is my name?", attempt=2),
    row(5, "assistant", "Your name is Ada.", attempt=2),
]


def test_nothing_is_missing() -> None:
    handoff = {"kind": "handoff", "role": None, "content": None}
    assert compare([handoff, *ROWS], HEARD) == (0, 0)


@pytest.mark.parametrize("place", range(5))
def test_each_row_that_is_missing_is_lost_the_one_cut_off_too(place: int) -> None:
    assert compare(ROWS[:place] + ROWS[place + 1 :], HEARD)[0] == 1


@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_customers_sentence_written_twice_or_a_second_greeting_is_doubled(place: int) -> None:
    assert compare([*ROWS[:place], ROWS[place], *ROWS[place:]], HEARD) == (0, 1)


def test_what_the_customer_interrupted_is_written_as_far_as_it_was_heard() -> None:
    heard = [*HEARD, Transcribed("agent", "A second story that nobody", 6)]
    assert compare([*ROWS, row(6, "assistant", "A second story th", attempt=2, interrupted=True)], heard) == (0, 0)
    assert compare([*ROWS, row(6, "assistant", "A third story", attempt=2, interrupted=True)], heard) == (1, 0)


def test_a_sentence_that_was_understood_in_two_parts_is_one_row() -> None:
    heard = [*HEARD, Transcribed("ada", "Hello,", 3), Transcribed("ada", "my name is Ada.", 3)]
    assert compare([*ROWS, row(6, "user", "Hello, my name is Ada.")], heard) == (0, 0)


def test_the_next_agents_story_does_not_stand_for_that_in_which_the_first_one_died() -> None:
    again = row(3, "assistant", "Once upon a time", attempt=2, interrupted=True)
    assert compare([*ROWS[:2], again, *ROWS[3:]], HEARD) == (1, 0)


def test_a_question_that_was_asked_twice_may_be_there_twice() -> None:
    rows = [*ROWS, row(6, "user", "What is my name?")]
    assert compare(rows, HEARD) == (0, 1)
    assert compare(rows, HEARD, ["What is my name?", "What is my name?"]) == (0, 0)
