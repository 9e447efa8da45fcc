"""Names and tokens that the operator makes of a key; the whole assignment is compared in tests/unit/test_golden.py."""

from datetime import timedelta

from testing.operator_objects import NOW, UID, ago, joined_conditions, make_pool, make_profile, make_session
from voice_operator.calls.assignment import SoFar, build_assignment, own_room_name, sum_up
from voice_operator.calls.deaths import Death
from voice_operator.calls.memory import CallMemory
from voice_operator.calls.status import report_lost
from voicesession.assignment import Assignment, Recovery, conversation_write_token
from voicesession.conditions import Reason
from voicesession.models import EffectiveLimits, VoiceSession
from voicesession.names import is_valid_room
from voicesession.serving import Serving

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


def test_the_first_agent_is_told_nothing_of_a_call_before_it() -> None:
    assert sum_up(CallMemory(UID, 0, NOW), make_session().status, NOW, timedelta(0)) == SoFar()


def test_the_next_agent_is_told_why_it_comes_for_how_long_nobody_was_there_and_who_the_customer_is() -> None:
    session = make_session(conditions=joined_conditions())
    ahead = timedelta(hours=1)  # the wall's clock
    lost = report_lost(session, Death(Reason.NODE_LOST, "Gone."), 1, 1, None, ago(7) + ahead)
    memory = CallMemory(UID, 0, ago(600), customer="them", talks_since=ago(500))
    so_far = sum_up(memory, lost, NOW, ahead)
    assert so_far == SoFar("them", 500.0, Recovery(reason="NodeLost", gap_seconds=7.0))
    made = assign(session, so_far)
    assert (made.participant_identity, made.recovery) == ("them", so_far.recovery)
    assert made.limits.max_duration_seconds == 3600 - 500
    named = make_session(participantIdentity="somebody")
    assert assign(named, so_far).participant_identity == "somebody"
    assert assign(session, SoFar(talked_seconds=3599)).limits.max_duration_seconds == 10


def assign(session: VoiceSession, so_far: SoFar) -> Assignment:
    serving = Serving(make_profile(), make_pool(), "cloud", EffectiveLimits())
    return build_assignment(session, serving, 2, "room", None, "ws://livekit", "token", KEY, so_far)
