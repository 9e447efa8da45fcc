"""How the benchmark of moves counts silence, and words that are lost."""

from typing import Any
from unittest.mock import Mock

from benchmarks.call_stage import Row
from benchmarks.move import count_lost_words, longest_silence
from testing.customer import Heard, HeardFrame

SENTENCES = [["repeat", "after", "me", "seven", "green", "apples"]]


def row(content: str, **fields: Any) -> Row:
    return {"kind": "message", "role": "user", "content": content, **fields}


def test_all_words_are_there_also_in_two_parts() -> None:
    rows = [row("Repeat after me: seven."), row("Green apples.")]
    assert count_lost_words(SENTENCES, rows, ["You said: seven", "green apples."]) == 0


def test_a_customers_word_in_no_row_is_lost_once() -> None:
    assert count_lost_words(SENTENCES, [row("Repeat after me: seven apples.")], ["Seven apples."]) == 1


def test_a_word_that_the_agent_did_not_say_is_lost() -> None:
    assert count_lost_words(SENTENCES, [row("Repeat after me: seven green apples.")], ["Seven apples."]) == 1


def test_the_agents_rows_do_not_stand_for_the_customers() -> None:
    rows = [row("Repeat after me: seven green.", role="user"), row("apples", role="assistant")]
    assert count_lost_words(SENTENCES, rows, ["Seven green apples."]) == 1


def test_silence_is_between_two_frames_audible_or_not() -> None:
    frames = [HeardFrame(at, 0) for at in (1.0, 1.01, 1.2, 1.21, 9.0)]
    customer = Mock(heard=Heard(frames=frames))
    assert round(longest_silence(customer, 1.0, 2.0), 3) == 0.19
    assert longest_silence(customer, 3.0, 5.0) == 2.0
