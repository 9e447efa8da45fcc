"""Turns: an answer carries its question's latencies too."""

from kubectl_voice.turns import median_answer, read_turns, slowest_part
from tests.unit.kubectl_voice.test_findings import item


def test_an_answer_has_the_latencies_of_its_question() -> None:
    [turn] = read_turns([item("user", 1, transcriptionMillis=300), item("assistant", 2, answerMillis=900)])
    assert (turn.answer_millis, turn.parts) == (900, {"transcriptionMillis": 300})


def test_a_greeting_answers_nothing_and_has_no_time() -> None:
    [turn] = read_turns([item("assistant", 1)])
    assert turn.answer_millis is None
    assert median_answer([turn]) is None
    assert slowest_part([turn]) is None


def test_the_slowest_part_is_that_of_the_median_answer() -> None:
    turns = read_turns(
        [
            *(item("user", 1, endOfTurnMillis=800), item("assistant", 2, llmFirstTokenMillis=9000, answerMillis=10000)),
            *(item("user", 3, endOfTurnMillis=800), item("assistant", 4, llmFirstTokenMillis=300, answerMillis=1200)),
            *(item("user", 5, endOfTurnMillis=800), item("assistant", 6, llmFirstTokenMillis=300, answerMillis=1300)),
        ]
    )
    assert slowest_part(turns) == "the end of the turn"
    assert median_answer(turns) == 1300
