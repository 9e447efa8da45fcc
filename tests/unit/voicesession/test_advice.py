"""Whoever reads why a call is in trouble reads what to do, once."""

import pytest

from voicesession.advice import _SAID, ADVICE, with_advice
from voicesession.conditions import Reason

# What is no trouble, or is told by whoever the work was.
_NONE = {
    *(Reason.BOUND, Reason.JOINED, Reason.JOINING, Reason.CALL_ENDED, Reason.CUSTOMER_GONE),
    *(Reason.FINISHING, Reason.WORK_DONE, Reason.WORK_LOST),
    *(Reason.PODS_WAITING, Reason.PODS_STARTING, Reason.REFERENCES_FOUND),
}


def test_there_is_advice_for_every_trouble() -> None:
    assert set(ADVICE) == set(Reason) - _NONE


@pytest.mark.parametrize(
    ("reason", "added"),
    [*((reason, False) for reason in sorted(_SAID)), (Reason.NODE_LOST, True), ("OfAnotherRelease", False)],
)
def test_it_is_added_where_the_message_has_none(reason: str, *, added: bool) -> None:
    assert (with_advice(reason, "It broke.") != "It broke.") is added
