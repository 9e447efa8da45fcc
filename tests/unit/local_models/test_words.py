"""Numbers and sentences in recognized speech."""

import pytest

from local_models.words import as_sentence, digits_at_start, integers_in, number_word, plain, sentences


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("two pizzas and 3 beers", [2, 3]),
        ("twenty-five", [25]),
        ("twenty five", [25]),
        ("Forty, fifty.", [40, 50]),
        ("1,250 people", [1250]),
        ("someone often", []),
    ],
)
def test_integers(text: str, numbers: list[int]) -> None:
    assert integers_in(text) == numbers


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        ("4711.", "4711"),
        ("4-7-1-1", "4711"),
        ("4, 7, 1, 1 and 5", "4711"),
        ("4. 7. 1. 1.", "4711"),
        ("four seven one one, thanks", "4711"),
        ("4,711", "4711"),
        ("not 4711", ""),
        ("", ""),
    ],
)
def test_digits(text: str, digits: str) -> None:
    assert digits_at_start(text) == digits


def test_number_words() -> None:
    assert [number_word(value) for value in (0, 13, 20, 21, 99)] == [
        "zero",
        "thirteen",
        "twenty",
        "twenty-one",
        "ninety-nine",
    ]


def test_sentences() -> None:
    assert sentences("Hello.  My name is Anna! Is it 4.5?") == ["Hello", "My name is Anna", "Is it 4.5"]


def test_plain() -> None:
    assert plain(" What\u2019s   MY name?! ") == "what's my name"


def test_as_sentence() -> None:
    assert [as_sentence(text) for text in ("a", "a?", " a. ")] == ["a.", "a?", "a."]
