"""Names and tokens that the operator makes of a key; the whole assignment is compared in tests/unit/test_golden.py."""

from testing.operator_objects import UID
from voice_operator.calls.assignment import own_room_name
from voicesession.assignment import conversation_write_token
from voicesession.names import is_valid_room

KEY = b"k" * 32
SECRET = "s" * 32


def test_the_operators_own_room_has_the_same_unguessable_name_each_time() -> None:
    name = own_room_name(KEY, UID)
    assert name == own_room_name(KEY, UID)
    assert is_valid_room(name)
    assert name != own_room_name(KEY, "another")
    assert name != own_room_name(b"x" * 32, UID)


def test_the_name_of_a_room_is_no_write_token() -> None:
    assert conversation_write_token(KEY, UID, 1)[:22] not in own_room_name(KEY, UID)
