"""How the soak counts growth."""

import math

import pytest

from benchmarks.soak import MIB, growth


@pytest.mark.parametrize(
    ("readings", "grown"),
    [
        ([100] * 8, 0),
        ([10, 20, 50, 100, 100, 100, 100, 100], 0),  # the first half does not count
        ([100] * 4 + [100, 100, 110, 110], 10),
        ([100] * 6 + [100, 100, 100, 180, 100, 100], 0),  # one busy moment
    ],
)
def test_growth_is_that_of_the_last_half(readings: list[int], grown: float) -> None:
    assert growth([reading * MIB for reading in readings]) == grown


def test_too_few_readings_say_nothing() -> None:
    assert math.isnan(growth([]))
    assert math.isnan(growth([1, 2]))
