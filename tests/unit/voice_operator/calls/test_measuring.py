"""What a call's pod measures counts for that call."""

from dataclasses import replace
from datetime import timedelta

import pytest
from prometheus_client import REGISTRY

from testing.operator_objects import NOW
from voice_operator.calls.measuring import Measuring
from voice_operator.calls.memory import Calls
from voicesession import clock
from voicesession.measures import FirstWord, Measured


def read(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def make_calls(profile: str) -> Calls:
    calls = Calls()
    calls.keep(replace(calls.meet("uid", clock.steady() - timedelta(seconds=3)), profile=profile))
    return calls


@pytest.mark.parametrize(
    ("profile", "millis", "seconds"),
    [("customer-first", None, 3.0), ("agent-first", 700, 0.7)],
)
def test_a_customer_waits_for_the_first_word_from_the_start_or_their_coming(
    profile: str, millis: int | None, seconds: float
) -> None:
    Measuring(make_calls(profile)).take("uid", Measured(at=NOW, replies=1, first_word=FirstWord(millis=millis)))
    told = read("voice_agent_first_word_seconds_sum", profile=profile, start_type="Warm")
    assert seconds <= told < seconds + 60
    assert read("voice_agent_replies_total", profile=profile, interrupted="false") == 1


def test_of_a_call_that_began_before_this_process_the_wait_is_not_known() -> None:
    calls = make_calls("inherited")
    calls.inherited.add("uid")
    Measuring(calls).take("uid", Measured(at=NOW, first_word=FirstWord()))
    Measuring(calls).take("forgotten", Measured(at=NOW, replies=1))
    assert read("voice_agent_first_word_seconds_count", profile="inherited", start_type="Warm") == 0
