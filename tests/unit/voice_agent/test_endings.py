"""When a call ends and why: every clock, alone and against the others."""

from typing import Any

import pytest
from livekit import rtc

from voice_agent.endings import CallFacts, decide_end, decide_room_end, next_deadline
from voicesession.models import EffectiveLimits, EndReason

LIMITS = EffectiveLimits(
    max_duration_seconds=100,
    join_timeout_seconds=10,
    idle_timeout_seconds=30,
    reconnect_grace_seconds=15,
    return_grace_seconds=5,
)


def call_with_customer(at: float = 5.0) -> CallFacts:
    facts = CallFacts(joined_at=0.0, last_activity_at=0.0, has_session=True)
    facts.customer_came(at)
    return facts


def test_nothing_runs_before_the_agent_has_joined() -> None:
    assert next_deadline(CallFacts(), LIMITS) is None
    assert decide_end(CallFacts(), LIMITS, 1e9) is None


@pytest.mark.parametrize(("now", "reason"), [(9.9, None), (10.0, EndReason.NEVER_JOINED)])
def test_a_customer_who_never_comes(now: float, reason: EndReason | None) -> None:
    facts = CallFacts(joined_at=0.0)
    assert decide_end(facts, LIMITS, now) is reason
    assert next_deadline(facts, LIMITS) == 10.0


@pytest.mark.parametrize(("now", "reason"), [(34.9, None), (35.0, EndReason.IDLE)])
def test_a_silent_customer(now: float, reason: EndReason | None) -> None:
    assert decide_end(call_with_customer(), LIMITS, now) is reason


@pytest.mark.parametrize(
    "busy",
    [{"customer_speaks": True}, {"agent_busy": True}, {"tools_running": {"call_1"}}, {"has_session": False}],
)
def test_nobody_is_idle_while_something_goes_on_or_nobody_can_tell(busy: dict[str, Any]) -> None:
    facts = call_with_customer()
    for name, value in busy.items():
        setattr(facts, name, value)
    assert decide_end(facts, LIMITS, 99.0) is None
    assert decide_end(facts, LIMITS, 100.0) is EndReason.MAX_DURATION


def test_the_longest_call() -> None:
    facts = call_with_customer()
    facts.last_activity_at = 99.0
    assert decide_end(facts, LIMITS, 99.9) is None
    assert decide_end(facts, LIMITS, 100.0) is EndReason.MAX_DURATION


@pytest.mark.parametrize(
    ("reason", "ends_at"),
    [
        (rtc.DisconnectReason.CLIENT_INITIATED, 25.0),
        (rtc.DisconnectReason.USER_REJECTED, 20.0),
        (rtc.DisconnectReason.PARTICIPANT_REMOVED, 20.0),
        (rtc.DisconnectReason.CONNECTION_TIMEOUT, 35.0),
        (rtc.DisconnectReason.SIGNAL_CLOSE, 35.0),
        (rtc.DisconnectReason.DUPLICATE_IDENTITY, 35.0),
        (None, 35.0),
    ],
)
def test_who_is_gone_has_as_long_to_return_as_the_reason_says(
    reason: "rtc.DisconnectReason.ValueType | None", ends_at: float
) -> None:
    facts = call_with_customer()
    facts.customer_left(20.0, reason)
    assert next_deadline(facts, LIMITS) == ends_at
    assert decide_end(facts, LIMITS, ends_at - 0.1) is None
    assert decide_end(facts, LIMITS, ends_at) is EndReason.PARTICIPANT_LEFT


def test_a_caller_who_hangs_up_is_not_waited_for() -> None:
    facts = call_with_customer()
    facts.customer_by_phone = True
    facts.customer_left(20.0, rtc.DisconnectReason.CLIENT_INITIATED)
    assert decide_end(facts, LIMITS, 20.0) is EndReason.PARTICIPANT_LEFT


def test_a_customer_who_comes_back_in_time() -> None:
    facts = call_with_customer()
    facts.customer_left(20.0, rtc.DisconnectReason.CLIENT_INITIATED)
    facts.customer_came(24.0)
    assert next_deadline(facts, LIMITS) == 54.0
    facts.customer_left(25.0, rtc.DisconnectReason.CONNECTION_TIMEOUT)
    facts.customer_came(30.0)
    assert decide_end(facts, LIMITS, 59.9) is None
    assert decide_end(facts, LIMITS, 60.0) is EndReason.IDLE


def test_an_absent_customer_is_not_idle() -> None:
    facts = call_with_customer()
    facts.customer_left(34.0, rtc.DisconnectReason.CONNECTION_TIMEOUT)
    assert decide_end(facts, LIMITS, 40.0) is None


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (rtc.DisconnectReason.DUPLICATE_IDENTITY, EndReason.SUPERSEDED),
        (rtc.DisconnectReason.ROOM_DELETED, EndReason.ROOM_CLOSED),
        (rtc.DisconnectReason.ROOM_CLOSED, EndReason.ROOM_CLOSED),
        (rtc.DisconnectReason.PARTICIPANT_REMOVED, EndReason.ROOM_CLOSED),
        (rtc.DisconnectReason.CLIENT_INITIATED, EndReason.ENDED_BY_REQUEST),
        (rtc.DisconnectReason.SERVER_SHUTDOWN, None),
        (rtc.DisconnectReason.SIGNAL_CLOSE, None),
        (rtc.DisconnectReason.UNKNOWN_REASON, None),
        (None, None),
    ],
)
def test_what_the_agents_own_disconnection_means(
    reason: "rtc.DisconnectReason.ValueType | None", expected: EndReason | None
) -> None:
    ending = decide_room_end(reason)
    assert (ending and ending.reason) is expected


def test_while_livekit_is_lost_nobody_is_taken_for_gone() -> None:
    facts = call_with_customer()
    facts.livekit_lost(20.0)
    facts.customer_left(20.1, rtc.DisconnectReason.UNKNOWN_REASON)
    assert decide_end(facts, LIMITS, 45.0) is None
    assert next_deadline(facts, LIMITS) == 100.0
    # Back in an empty room, the customer gets as long again.
    facts.livekit_back(45.0)
    assert next_deadline(facts, LIMITS) == 60.0
    facts.customer_came(59.0)
    assert next_deadline(facts, LIMITS) == 89.0


def test_a_livekit_that_stays_away_for_longer_than_the_grace_is_a_closed_room() -> None:
    facts = call_with_customer()
    facts.livekit_lost(20.0)
    facts.livekit_lost(30.0)  # told again, by its library's last word
    facts.rejoining = True
    assert decide_end(facts, LIMITS, 34.9) is None
    assert decide_end(facts, LIMITS, 35.0) is EndReason.ROOM_CLOSED
    facts.livekit_back(34.0)
    assert decide_end(facts, LIMITS, 34.9) is None
