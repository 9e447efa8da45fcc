"""The order of tests that several workers share: who is given a long one last leaves the others without work."""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import TypeVar

_T = TypeVar("_T")


def deal(items: Sequence[_T], is_long: Callable[[_T], bool], workers: int) -> list[_T]:
    """Returns all items, in an order in which each worker's share begins with some long ones.

    Each has a share of what lies side by side, as xdist deals them at first; the last has the first long one.
    """
    long = [item for item in items if is_long(item)]
    rest = iter([item for item in items if not is_long(item)])
    dealt: list[_T] = []
    for left in range(workers, 0, -1):
        share = long[left - 1 :: workers]
        size = (len(items) - len(dealt)) // left
        dealt += [*share, *islice(rest, max(0, size - len(share)))]
    return dealt
