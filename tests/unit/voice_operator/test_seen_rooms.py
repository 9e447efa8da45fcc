"""What is known of the rooms of calls, from one list of all rooms to the next."""

from testing.operator_objects import NOW, ago
from voice_operator.seen_rooms import SeenRooms
from voicesession.admission import RoomStart


def room(name: str, sid: str) -> RoomStart:
    return RoomStart(name, sid, NOW, "")


def test_a_room_that_goes_and_comes_back_is_told_once_each() -> None:
    seen = SeenRooms()
    assert seen.take([room("a", "RM_1")], {"a"}, ago(4)) == {}
    assert seen.take([], {"a"}, ago(3)) == {"a": "missing"}
    assert seen.take([], {"a"}, ago(2)) == {}
    assert (seen.missing_since("a", ago(5)), list(seen.missing)) == (ago(3), ["a"])
    assert seen.take([room("a", "RM_2")], {"a"}, ago(1)) == {"a": "back"}
    assert (seen.missing_since("a", ago(5)), seen.sid_of("a", ago(5))) == (None, "RM_2")


def test_a_room_under_another_sid_has_moved() -> None:
    seen = SeenRooms()
    seen.take([room("a", "RM_1")], {"a"}, ago(2))
    assert seen.take([room("a", "RM_2"), room("b", "RM_3")], {"a", "b"}, ago(1)) == {"a": "moved"}


def test_while_livekit_is_not_heard_nothing_is_missing() -> None:
    seen = SeenRooms()
    seen.take([], {"a"}, ago(60))
    seen.lose_sight()
    assert seen.missing_since("a", ago(90)) is None
    seen.take([], {"a"}, ago(1))
    assert seen.missing_since("a", ago(90)) == ago(1)


def test_rooms_that_nobody_asks_for_are_forgotten() -> None:
    seen = SeenRooms()
    seen.take([room("a", "RM_1")], {"a", "b"}, ago(2))
    seen.take([room("a", "RM_1")], set(), ago(1))
    assert (seen.sid_of("a", ago(3)), list(seen.missing)) == (None, [])
