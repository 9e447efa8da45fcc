"""Waits end with the condition, or say what was waited for."""

from collections.abc import Callable

import pytest

from testing.waiting import eventually, eventually_sync, stays


def after(calls: int, answer: object) -> Callable[[], object]:
    """Returns what answers None so many times, then `answer`."""
    left = [None] * calls
    return lambda: left.pop() if left else answer


async def test_the_first_true_answer_is_returned() -> None:
    condition = after(2, "there")

    async def look() -> object:
        return condition()

    assert await eventually(look) == "there"
    assert await eventually(after(2, "there")) == "there"
    assert eventually_sync(after(2, "there")) == "there"


async def test_what_never_comes_is_told() -> None:
    with pytest.raises(TimeoutError, match=r"not within 0\.01 s: no pod is warm"):
        await eventually(lambda: False, 0.01, "no pod is warm")
    with pytest.raises(TimeoutError, match=r"not within 0\.01 s: 3 pods"):
        eventually_sync(lambda: False, 0.01, lambda: "3 pods")


async def test_what_has_to_stay_so_does() -> None:
    await stays(lambda: True, 0.01, "it would change")
    with pytest.raises(AssertionError, match="a second pod was claimed"):
        await stays(lambda: False, 0.01, "a second pod was claimed")


async def test_a_change_is_seen_before_the_time_is_over() -> None:
    changed = after(2, "changed")
    with pytest.raises(AssertionError):
        await stays(lambda: changed() is None, 60, "it changed")
