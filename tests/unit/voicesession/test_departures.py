"""How long a call waits for a customer who is gone."""

import pytest

from voicesession.departures import seconds_to_return, seems_to_have_left
from voicesession.models import EffectiveLimits

LIMITS = EffectiveLimits(reconnect_grace_seconds=15, return_grace_seconds=5)


@pytest.mark.parametrize(
    ("reason", "seconds", "has_left"),
    [
        ("CLIENT_INITIATED", 5, True),
        ("USER_REJECTED", 0, True),
        ("PARTICIPANT_REMOVED", 0, True),
        ("CONNECTION_TIMEOUT", 15, False),
        ("A_REASON_OF_A_NEWER_LIVEKIT", 15, False),
        (None, 15, False),
    ],
)
def test_how_long_who_is_gone_has_to_return(reason: str | None, seconds: int, has_left: bool) -> None:
    assert seconds_to_return(reason, LIMITS) == seconds
    assert seems_to_have_left(reason) is has_left


def test_who_hangs_up_a_telephone_does_not_come_back_but_a_line_may_be_lost() -> None:
    assert seconds_to_return("CLIENT_INITIATED", LIMITS, by_phone=True) == 0
    assert seconds_to_return("CONNECTION_TIMEOUT", LIMITS, by_phone=True) == 15
