"""What one participant may type."""

import pytest

from voice_agent.text_budget import TextBudget, TextRefusal
from voicesession.models import TextInput

LIMITS = TextInput(max_message_bytes=10, messages_per_minute=3, max_conversation_bytes=25)


def test_a_minute_has_so_many_messages_whenever_it_begins() -> None:
    budget = TextBudget(LIMITS)
    assert [budget.begin(now) for now in (0.0, 30.0, 59.0)] == [None, None, None]
    assert budget.begin(59.9) is TextRefusal.TOO_OFTEN
    assert budget.begin(60.1) is None, "the first is a minute ago"
    assert budget.begin(89.0) is TextRefusal.TOO_OFTEN


@pytest.mark.parametrize(("size", "refusal"), [(10, None), (11, TextRefusal.TOO_LONG)])
def test_a_message_has_so_many_bytes(size: int, refusal: TextRefusal | None) -> None:
    assert TextBudget(LIMITS).spend(size) is refusal


def test_a_conversation_has_so_many_bytes_and_what_is_refused_costs_none() -> None:
    budget = TextBudget(LIMITS)
    assert [budget.spend(size) for size in (10, 11, 10)] == [None, TextRefusal.TOO_LONG, None]
    assert budget.check(6) is TextRefusal.TOO_MUCH
    assert budget.spend(6) is TextRefusal.TOO_MUCH
    assert budget.spend(5) is None


def test_what_an_earlier_attempt_has_used_is_gone_however_often_it_is_told() -> None:
    budget = TextBudget(LIMITS)
    assert budget.spend(5) is None
    budget.know(10)
    budget.know(10)
    assert (budget.spent, budget.spend(10), budget.spend(1)) == (15, None, TextRefusal.TOO_MUCH)


@pytest.mark.parametrize("refusal", TextRefusal)
def test_whoever_has_typed_is_told_why(refusal: TextRefusal) -> None:
    words = TextBudget(LIMITS).tell(refusal)
    assert words.startswith("Your message was not read: ")
    assert words.endswith(".")
