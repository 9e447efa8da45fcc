"""Compares what was said with what was written down."""

import re


def words(text: str) -> list[str]:
    """Returns the words of `text` in lower case, without punctuation."""
    return re.findall(r"[a-z0-9']+", text.lower())


def word_errors(said: str, heard: str) -> int:
    """Returns the word edit distance (substitutions, insertions, deletions) between two texts."""
    reference, hypothesis = words(said), words(heard)
    row = list(range(len(hypothesis) + 1))
    for i, expected in enumerate(reference, start=1):
        previous, row[0] = row[0], i
        for j, got in enumerate(hypothesis, start=1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (expected != got))
    return row[-1]


def word_error_rate(said: list[str], heard: list[str]) -> float:
    """Returns the errors over all sentences, divided by the words said.

    `said` and `heard` go together pair by pair; a sentence nobody heard is paired with "".
    """
    total = sum(len(words(sentence)) for sentence in said)
    return sum(word_errors(a, b) for a, b in zip(said, heard, strict=True)) / total
