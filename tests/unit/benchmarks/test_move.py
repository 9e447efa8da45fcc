"""How the benchmark of moves counts silence, and words that are lost."""

from typing import Any
from unittest.mock import Mock

from benchmarks.call_stage import Row
from benchmarks.move import find_lost_words, longest_silence
from testing.customer import Heard, HeardFrame

SENTENCES = [["repeat", "after", "me", "seven", "green", "apples"]]


def row(content: str, **fields: Any) -> Row:
    return {"kind": "message", "role": "user", "content": content, "interrupted": False, "attempt": 1, **fields}


def told(content: str, **fields: Any) -> Row:
    return row(content, role="assistant", **fields)


def test_all_words_are_there_also_in_two_parts() -> None:
    rows = [row("Repeat after me: seven."), row("Green apples."), told("You said: seven green apples.")]
    assert find_lost_words(SENTENCES, rows, ["You said: seven", "green apples."]) == []


def test_a_customers_word_in_no_row_is_lost_and_one_that_was_taken_for_another_is_not() -> None:
    assert find_lost_words(SENTENCES, [row("Repeat after me: seven apples.")], []) == ["green"]
    assert find_lost_words(SENTENCES, [row("Repeat after me: seven grey apples.")], []) == []


def test_a_word_that_the_agent_wrote_and_did_not_say_is_lost() -> None:
    rows = [row("Repeat after me: seven green apples."), told("Seven green apples.")]
    assert find_lost_words(SENTENCES, rows, ["Seven apples."]) == ["green"]


def test_the_agents_rows_do_not_stand_for_the_customers() -> None:
    rows = [row("Repeat after me: seven green."), told("apples")]
    assert find_lost_words(SENTENCES, rows, ["Apples."]) == ["apples"]


def test_a_sentence_that_an_agent_left_to_the_next_one_is_lost_one_that_its_customer_broke_off_is_not() -> None:
    asked = row("Repeat after me: seven green apples.")
    stopped = told("Seven green", interrupted=True)
    assert find_lost_words(SENTENCES, [asked, stopped, told("Yes?", attempt=2)], ["Seven green", "Yes?"]) == ["green"]
    assert find_lost_words(SENTENCES, [asked, stopped, told("Yes?")], ["Seven green", "Yes?"]) == []


def test_silence_is_between_two_frames_audible_or_not() -> None:
    frames = [HeardFrame(at, 0) for at in (1.0, 1.01, 1.2, 1.21, 9.0)]
    customer = Mock(heard=Heard(frames=frames))
    assert round(longest_silence(customer, 1.0, 2.0), 3) == 0.19
    assert longest_silence(customer, 3.0, 5.0) == 2.0
