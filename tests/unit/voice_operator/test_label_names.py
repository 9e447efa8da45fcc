"""Labels keep few names, whatever comes."""

import pytest

from voice_operator.label_names import LabelNames


def test_the_first_names_are_kept_and_all_beyond_are_one() -> None:
    names = LabelNames(2)
    told = [names.bound(f"profile-{number}") for number in (1, 2, 3, 1, 4)]
    assert told == [("profile-1",), ("profile-2",), ("other",), ("profile-1",), ("other",)]


def test_names_that_belong_together_are_kept_together() -> None:
    names = LabelNames(1)
    assert names.bound("openai", "") == names.bound("openai", "") == ("openai", "unknown")
    assert names.bound("openai", "gpt") == ("other", "other")


@pytest.mark.parametrize("words", ["yes please", "Grüezi", "a\nb", "x" * 101, "-x", 'a"b'])
def test_what_is_no_name_takes_no_place(words: str) -> None:
    names = LabelNames(1)
    assert names.bound(words) == ("other",)
    assert names.bound("gpt-4.1/mini:v2") == ("gpt-4.1/mini:v2",)
