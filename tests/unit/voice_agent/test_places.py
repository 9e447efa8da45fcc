"""In which order items are said, whatever order they come in."""

import itertools
from datetime import UTC, datetime, timedelta

from voice_agent.places import STEP, Places

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> str:
    return (BEGAN + timedelta(seconds=seconds)).isoformat()


def test_what_comes_late_has_the_place_of_its_time() -> None:
    places = Places(1_000_000)
    answer, next_question = places.find(at(5)), places.find(at(9))
    question = places.find(at(2))
    second_answer = places.find(at(6))
    assert 1_000_000 < question < answer < second_answer < next_question


def test_what_is_said_at_once_keeps_its_order() -> None:
    places = Places(0)
    found = [places.find(at(1)) for _ in range(50)]
    assert found == sorted(set(found))


def test_so_many_that_there_is_no_place_left_still_have_one_each() -> None:
    places = Places(0)
    places.find(at(0))
    found = [places.find(at(1000 - number)) for number in range(2 * STEP)]
    assert len(set(found)) == len(found)


def test_an_attempt_has_room_for_a_long_call() -> None:
    places = Places(1_000_000)
    last = max(places.find(at(number)) for number in itertools.islice(itertools.count(), 20_000))
    assert last < 2_000_000
