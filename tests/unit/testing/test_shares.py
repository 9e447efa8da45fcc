"""Shares of tests: nothing is lost or doubled, and each begins with what is long."""

import pytest

from testing.shares import deal


def test_each_share_begins_with_long_ones() -> None:
    items = ["a", "b", "c", "LONG", "d", "e", "LONGER", "f", "LONGEST"]
    dealt = deal(items, str.isupper, 3)
    assert [dealt[:3], dealt[3:6], dealt[6:]] == [["LONGEST", "a", "b"], ["LONGER", "c", "d"], ["LONG", "e", "f"]]


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
@pytest.mark.parametrize("items", ["", "a", "L", "abL", "LLLLabc", "abcdefghijLkM"])
def test_all_are_dealt_once(items: str, workers: int) -> None:
    assert sorted(deal(items, str.isupper, workers)) == sorted(items)
