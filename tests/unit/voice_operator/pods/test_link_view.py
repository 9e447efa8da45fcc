"""What a pod's events make of what is known of it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from testing.operator_objects import NOW
from voice_operator.pods.link_view import LinkState, LinkView, with_event
from voicesession.assignment import (
    Accepted,
    ApiRequest,
    CallEnded,
    CustomerKnown,
    HandedOver,
    HeardLate,
    Heartbeat,
    Joined,
    ModelFailed,
    OtherAgent,
    PodEvent,
    Ready,
    Resumed,
    RoomDeletionRequested,
)
from voicesession.measures import Measured, Turn
from voicesession.models import EndReason

LATER = NOW + timedelta(seconds=5)
VIEW = LinkView("uid-of-pod", LinkState.FOLLOWING, NOW)
ANSWERED = replace(VIEW, answered_at=LATER)
JOINED = Joined(at=NOW, connect_millis=100, joined_millis=120, room_sid="RM_1")
HANDED = HandedOver(at=NOW, quiet=True, state={"rows": []})
LATE = HeardLate(at=NOW, state={"rows": []})
ENDED = CallEnded(at=NOW, reason=EndReason.IDLE)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (Accepted(at=NOW), replace(ANSWERED, accepted=True)),
        (JOINED, replace(ANSWERED, accepted=True, joined=JOINED, joined_at=LATER)),
        (Ready(at=NOW), replace(ANSWERED, ready=True)),
        (HANDED, replace(ANSWERED, handed=HANDED, hands_at=NOW)),
        (LATE, replace(ANSWERED, late=LATE)),
        (CustomerKnown(at=NOW, participant_identity="them"), replace(ANSWERED, customer="them")),
        (RoomDeletionRequested(at=NOW), replace(ANSWERED, deletion_requested=True)),
        (ModelFailed(at=NOW, provider="openai", part="llm"), ANSWERED),
        (ApiRequest(at=NOW, number=1, method="RoomService/SendData", body=b""), ANSWERED),
        (OtherAgent(at=NOW, identity="agent-AJ_1"), replace(ANSWERED, other_agent="agent-AJ_1")),
        (ENDED, replace(ANSWERED, ended=ENDED)),
        (Heartbeat(at=NOW), ANSWERED),
        (Measured(at=NOW, turn=Turn(answer_millis=800)), ANSWERED),
    ],
)
def test_each_event_says_one_thing(event: PodEvent, expected: LinkView) -> None:
    assert with_event(VIEW, event, LATER) == expected


def test_a_stream_told_again_from_the_beginning_does_not_move_its_times() -> None:
    told = with_event(VIEW, JOINED, NOW)
    assert with_event(told, JOINED, LATER) == told


def test_a_call_that_nobody_took_is_not_handed_over_any_more_whatever_is_told_again() -> None:
    resumed = with_event(with_event(VIEW, HANDED, LATER), Resumed(at=LATER), LATER)
    assert resumed.handed is None
    assert with_event(resumed, HANDED, LATER) == resumed
    again = HandedOver(at=LATER + timedelta(seconds=1), quiet=False)
    assert with_event(resumed, again, LATER).handed == again
