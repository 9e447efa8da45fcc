"""What a refused customer is told, whoever tells it: the room's data message, the call's state, the HTTP refusal."""

from typing import Any

import pytest

from token_service.service import no_place
from token_service.session_routes import build_state
from voicesession.admission import Refuse
from voicesession.conditions import Reason
from voicesession.customer_words import RefusalReason, build_notice, retry_after, words_for_customer
from voicesession.models import Phase, VoiceSession

PASSING = {
    Reason.NO_CAPACITY,
    Reason.UNSCHEDULABLE,
    Reason.POD_SANDBOX_FAILED,
    Reason.QUOTA_EXCEEDED,
    Reason.LIMIT_REACHED,
}
PASSING_REFUSALS = {RefusalReason.PROFILE_FULL, RefusalReason.TENANT_FULL}


def make_failed(reason: Reason) -> VoiceSession:
    status = {"phase": "Failed", "reason": reason.value, "message": "Pool 'default' lacks pods."}
    return VoiceSession.model_validate({"metadata": {"name": "call", "uid": "u"}, "spec": {}, "status": status})


@pytest.mark.parametrize("reason", Reason)
def test_the_operator_and_the_token_service_say_the_same_time_and_words_of_a_failed_call(reason: Reason) -> None:
    state = build_state(make_failed(reason), for_tenant=False)
    notice = build_notice(reason, words_for_customer(reason, Phase.FAILED))
    assert notice.get("retryAfterSeconds") == state.retryAfterSeconds == retry_after(reason)
    assert notice["message"] == state.message
    assert (state.retryAfterSeconds is not None) == (reason in PASSING)


@pytest.mark.parametrize("reason", RefusalReason)
def test_a_refused_start_and_a_refused_token_say_the_same_time(reason: RefusalReason) -> None:
    refusal = Refuse(reason, "Why.")
    notice = build_notice(refusal.reason, refusal.message)
    assert notice.get("retryAfterSeconds") == no_place(refusal).retry_after == retry_after(reason)
    assert (refusal.retry_after is not None) == (reason in PASSING_REFUSALS)


@pytest.mark.parametrize(
    ("reason", "notice"),
    [
        (Reason.NO_CAPACITY, {"type": "no-capacity", "reason": "NoCapacity", "retryAfterSeconds": 15}),
        (Reason.ASSIGNMENT_FAILED, {"type": "no-capacity", "reason": "AssignmentFailed"}),
        (Reason.NODE_LOST, {"type": "error", "reason": "NodeLost"}),
        (Reason.LIMIT_REACHED, {"type": "refused", "reason": "LimitReached", "retryAfterSeconds": 15}),
        (Reason.POOL_MISSING, {"type": "refused", "reason": "PoolMissing"}),
        (RefusalReason.PROFILE_FULL, {"type": "refused", "reason": "profile-full", "retryAfterSeconds": 15}),
        (RefusalReason.TICKET_EXPIRED, {"type": "refused", "reason": "ticket-expired"}),
    ],
)
def test_a_notice_says_why_and_when_again(reason: Reason | RefusalReason, notice: dict[str, Any]) -> None:
    assert build_notice(reason, "Why.") == {**notice, "message": "Why."}


@pytest.mark.parametrize("reason", [Reason.AGENT_CRASHED, Reason.WAITING_FOR_POD, Reason.JOINING])
def test_who_has_lost_the_agent_is_told_that_another_one_comes(reason: Reason) -> None:
    assert "Another one" in (words_for_customer(reason, Phase.RECOVERING) or "")


def test_a_reason_of_somebody_else_s_brings_no_time() -> None:
    assert retry_after("SomethingNew") is None
    assert retry_after(None) is None
