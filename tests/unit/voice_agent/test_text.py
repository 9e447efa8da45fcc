"""Text that cannot be stored or sent is made so that it can."""

import json

import pytest

from voice_agent.text import clean, clean_text


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("für zwei 🙂, 两个人", "für zwei 🙂, 两个人"),
        ("half an emoji: \ud83d", "half an emoji: \ufffd"),
        ("nul: \x00.", "nul: \ufffd."),
        ("", ""),
    ],
)
def test_what_cannot_be_stored_is_replaced(text: str, cleaned: str) -> None:
    assert clean_text(text) == cleaned


def test_rows_are_cleaned_in_all_their_depth() -> None:
    row = {"content": "a\x00", "tool": {"arguments": ["\udfff", 1, None, {"\x00": True}]}, "position": 7}
    cleaned = clean(row)
    json.dumps(cleaned, ensure_ascii=False).encode()
    assert cleaned == {
        "content": "a\ufffd",
        "tool": {"arguments": ["\ufffd", 1, None, {"\ufffd": True}]},
        "position": 7,
    }


def test_a_number_that_json_does_not_know_is_a_text() -> None:
    assert clean({"x": [float("nan"), float("-inf"), 1.5]}) == {"x": ["NaN", "-Infinity", 1.5]}
