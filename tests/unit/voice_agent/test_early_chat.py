"""What is typed before anybody can take it waits, in its order."""

from typing import Any, cast

import pytest

from voice_agent.early_chat import MOST_HELD, EarlyChat


class Taker:
    def __init__(self) -> None:
        self.taken: list[object] = []

    def take(self, reader: Any, identity: str) -> None:
        self.taken.append((reader, identity))


def come(chat: EarlyChat, *texts: str) -> None:
    for text in texts:
        chat.come(cast("Any", text), "ada")


def test_what_comes_before_the_taker_is_taken_then_in_its_order() -> None:
    chat, taker = EarlyChat(), Taker()
    come(chat, "one", "two")
    chat.give_to(taker.take)
    come(chat, "three")
    assert taker.taken == [("one", "ada"), ("two", "ada"), ("three", "ada")]


def test_a_session_that_starts_gets_nothing_before_it_runs() -> None:
    chat, taker = EarlyChat(), Taker()
    come(chat, "before")
    chat.hold()
    chat.give_to(taker.take)
    come(chat, "meanwhile")
    assert not taker.taken
    chat.release()
    assert taker.taken == [("before", "ada"), ("meanwhile", "ada")]


def test_there_is_one_taker_at_a_time() -> None:
    chat, first, second = EarlyChat(), Taker(), Taker()
    chat.give_to(first.take)
    with pytest.raises(ValueError, match="already"):
        chat.give_to(second.take)
    chat.take_away()
    come(chat, "between")
    chat.give_to(second.take)
    assert (first.taken, second.taken) == ([], [("between", "ada")])


def test_a_flood_before_the_session_is_bounded() -> None:
    chat, taker = EarlyChat(), Taker()
    come(chat, *map(str, range(MOST_HELD + 5)))
    chat.give_to(taker.take)
    assert taker.taken[0] == ("5", "ada")
    assert len(taker.taken) == MOST_HELD
