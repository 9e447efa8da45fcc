"""Whether silent pods are lost, or nobody reaches us."""

import pytest

from voice_operator.calls.hearing import Hearing


@pytest.mark.parametrize(
    ("heard", "silent", "cut_off"),
    [
        ("", "", False),
        ("", "aa", False),  # too few to tell
        ("", "aaa", True),
        ("aaaaaaa", "aaa", False),  # less than a third
        ("aaabbb", "aab", True),  # of two nodes, of which others are heard
        ("bbb", "aaaaaa", False),  # one node of which nothing is heard: it is lost
        ("bbbb", "aaab", False),
        ("ccc", "aabb", True),  # two at once
        ("", "aaabbb", True),
    ],
)
def test_who_is_not_heard(heard: str, silent: str, *, cut_off: bool) -> None:
    hearing = Hearing()
    for number, node in enumerate(heard + silent):
        hearing.note(str(number), node, silent=False)
    for number, node in enumerate(silent, len(heard)):
        hearing.note(str(number), node, silent=True)
    assert hearing.cut_off is cut_off


def test_who_is_heard_again_or_followed_no_more_is_silent_no_more() -> None:
    hearing = Hearing()
    for uid in "123":
        hearing.note(uid, "a", silent=True)
    hearing.note("1", "a", silent=False)
    assert not hearing.cut_off
    hearing.note("1", "a", silent=True)
    hearing.drop("2")
    assert not hearing.cut_off


def test_a_node_with_which_a_leader_was_lost_is_there_again_when_one_of_its_pods_is_heard() -> None:
    hearing = Hearing()
    hearing.lost_node = "a"
    hearing.note("1", "a", silent=True)
    hearing.note("2", "b", silent=False)
    assert hearing.lost_node == "a"
    hearing.note("1", "a", silent=False)
    assert hearing.lost_node is None
