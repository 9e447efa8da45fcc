"""Pauses between tries."""

import pytest

from voice_operator.backoff import Backoff


def test_pauses_double_up_to_the_longest_and_begin_anew_after_a_calm_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("voice_operator.backoff.time.monotonic", lambda: now)
    monkeypatch.setattr("voice_operator.backoff.random.uniform", lambda _low, high: high)
    backoff = Backoff(first=0.5, longest=3.0, calm_seconds=60)
    assert [backoff.next() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    now += 59
    assert backoff.next() == 3.0
    now += 61
    assert backoff.next() == 0.5


def test_no_two_who_begin_together_try_together() -> None:
    assert len({Backoff(first=1.0, longest=8.0).next() for _ in range(20)}) > 10
