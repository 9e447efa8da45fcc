"""The verdict over each kind of bad call, from what the API server and the conversation know of it."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from conversations.reader import TranscriptItem
from kubectl_voice.evidence import Evidence
from kubectl_voice.facts import EventFacts, PodFacts
from kubectl_voice.findings import Weight, judge
from testing.operator_objects import NOW, UID, ago, finished_conditions, joined_conditions, make_session
from voicesession.conditions import ConditionType, Reason, with_condition
from voicesession.models import Condition, EndReason, Phase, StartType


def evidence(conditions: list[Condition] | None = None, **fields: Any) -> Evidence:
    """Returns what is known of a call whose VoiceSession is a minute old."""
    names = {"pods", "events", "items", "undelivered_rows"}
    session = make_session(conditions=conditions, **{key: fields[key] for key in fields if key not in names})
    metadata = session.metadata.model_copy(update={"creation_timestamp": ago(60)})
    known = {key: fields[key] for key in fields if key in names}
    return Evidence(session=session.model_copy(update={"metadata": metadata}), now=NOW, **known)


def waiting(reason: Reason) -> Evidence:
    """Returns a call that has waited for a pod for ten seconds."""
    bound = with_condition([], ConditionType.POD_BOUND, "False", reason, "", ago(10))
    return evidence(bound, status_reason=reason.value, status_message=f"In words: {reason.value}.")


def failed(reason: Reason) -> Evidence:
    """Returns a call that failed."""
    return evidence(
        finished_conditions(reason), status_phase=Phase.FAILED, status_reason=reason.value, status_message="In words."
    )


def ended(end_reason: EndReason, **fields: Any) -> Evidence:
    """Returns a call that ended."""
    joined = {"status_agent_joined_at": ago(30), "status_end_reason": end_reason, "status_reason": "CallEnded"}
    return evidence(finished_conditions(), **{**joined, **fields})


def item(role: str, seconds: float, **latencies: int) -> TranscriptItem:
    """Returns a message of a conversation."""
    return TranscriptItem(
        item_id=f"{role}{seconds}",
        position=int(seconds),
        attempt=1,
        kind="message",
        role=role,
        content="secret words",
        created_at=ago(60 - seconds),
        latencies=latencies or None,
    )


def event(reason: str, message: str, *, warning: bool = True) -> EventFacts:
    """Returns an Event about the call."""
    return EventFacts(ago(5), warning, reason, message, "VoiceSession call")


TALKED = (
    item("user", 10, transcriptionMillis=300, endOfTurnMillis=800),
    item("assistant", 12, llmFirstTokenMillis=400, ttsFirstByteMillis=200, answerMillis=1700),
)
SLOW_MODEL = (
    item("user", 10, transcriptionMillis=300, endOfTurnMillis=800),
    item("assistant", 16, llmFirstTokenMillis=3900, ttsFirstByteMillis=200, answerMillis=5200),
)
ACTIVE = {"status_phase": Phase.ACTIVE, "status_reason": "Joined", "status_agent_joined_at": ago(30)}

BAD_CALLS = [
    (waiting(Reason.NO_CAPACITY), "NoCapacity"),
    (waiting(Reason.UNSCHEDULABLE), "Unschedulable"),
    (waiting(Reason.IMAGE_PULL_FAILED), "ImagePullFailed"),
    (waiting(Reason.CODE_IMPORT_FAILED), "CodeImportFailed"),
    (waiting(Reason.QUOTA_EXCEEDED), "QuotaExceeded"),
    (waiting(Reason.POD_CONFIG_INVALID), "PodConfigInvalid"),
    (waiting(Reason.PROFILE_MISSING), "ProfileMissing"),
    (failed(Reason.LIVEKIT_UNAVAILABLE), "LiveKitUnavailable"),
    (failed(Reason.ASSIGNMENT_FAILED), "AssignmentFailed"),
    (failed(Reason.OUT_OF_MEMORY), "OutOfMemory"),
    (failed(Reason.AGENT_CRASHED), "AgentCrashed"),
    (failed(Reason.AGENT_HUNG), "AgentHung"),
    (failed(Reason.NODE_LOST), "NodeLost"),
    (failed(Reason.AGENT_ERROR), "AgentError"),
    (failed(Reason.LIMIT_REACHED), "LimitReached"),
    (failed(Reason.ROOM_TAKEN), "RoomTaken"),
    (ended(EndReason.NEVER_JOINED), "never_joined"),
    (ended(EndReason.IDLE), "idle"),
    (ended(EndReason.MAX_DURATION), "max_duration"),
    (ended(EndReason.ROOM_CLOSED), "room_closed"),
    (ended(EndReason.PARTICIPANT_LEFT, items=SLOW_MODEL), "slow-answers"),
    (ended(EndReason.PARTICIPANT_LEFT, status_connect_millis=4200, status_start_type=StartType.COLD), "slow-start"),
    (ended(EndReason.PARTICIPANT_LEFT, items=()), "no-words"),
    (ended(EndReason.PARTICIPANT_LEFT, undelivered_rows=3), "undelivered"),
    (evidence(joined_conditions(), **ACTIVE, events=(event("OtherAgent", "bot is in the room"),)), "OtherAgent"),
    (
        evidence(joined_conditions(), **ACTIVE, events=(event("ModelFailed", "cloud failed. See its key."),)),
        "ModelFailed",
    ),
    (
        evidence(
            joined_conditions(),
            **ACTIVE,
            status_lost_agents=1,
            events=(event("AgentLost", "OutOfMemory: The agent in pod pod-a took more memory than its limit."),),
        ),
        "RecoveredOutOfMemory",
    ),
    (evidence(status_phase=None), "unseen"),
    (
        evidence(pods=(PodFacts("pod-a", ago(60), session=UID, waiting="CrashLoopBackOff"),)),
        "CrashLoopBackOff",
    ),
]


@pytest.mark.parametrize(("known", "code"), BAD_CALLS, ids=[code for _, code in BAD_CALLS])
def test_a_bad_calls_verdict_names_what_was_bad_and_what_to_do(known: Evidence, code: str) -> None:
    verdict = judge(known)[0]
    assert verdict.code == code
    assert verdict.weight < Weight.FINE
    assert verdict.sentence
    assert verdict.advice


@pytest.mark.parametrize(
    "known",
    [
        evidence(joined_conditions(), **ACTIVE, items=TALKED, status_connect_millis=90),
        ended(EndReason.PARTICIPANT_LEFT, items=TALKED, status_connect_millis=90),
        ended(EndReason.ENDED_BY_REQUEST, items=TALKED),
        replace(evidence(status_phase=None), now=NOW - timedelta(seconds=58)),
    ],
    ids=["in progress", "customer left", "ended by request", "a moment old"],
)
def test_nothing_is_found_in_a_good_call(known: Evidence) -> None:
    assert [finding.code for finding in judge(known)] == ["fine"]


def test_a_slow_answer_names_the_part_that_took_the_time() -> None:
    [verdict] = judge(ended(EndReason.PARTICIPANT_LEFT, items=SLOW_MODEL))
    assert "5.2 s" in verdict.sentence
    assert "the chat model" in verdict.sentence


def test_what_hurt_the_customer_comes_before_what_hurt_nobody() -> None:
    known = ended(EndReason.MAX_DURATION, items=SLOW_MODEL, undelivered_rows=2)
    assert [finding.code for finding in judge(known)] == ["slow-answers", "undelivered", "max_duration"]


def test_a_failure_without_rows_to_read_is_judged_all_the_same() -> None:
    assert judge(replace(failed(Reason.AGENT_CRASHED), items=None, unread="no right"))[0].code == "AgentCrashed"


def test_every_reason_of_a_failure_has_advice() -> None:
    advised = {reason for reason in Reason if judge(failed(reason))[0].advice}
    without = {
        *(Reason.BOUND, Reason.JOINED, Reason.JOINING, Reason.CALL_ENDED, Reason.CUSTOMER_GONE, Reason.FINISHING),
        *(Reason.WORK_DONE, Reason.WORK_LOST, Reason.PODS_WAITING, Reason.PODS_STARTING, Reason.REFERENCES_FOUND),
    }
    assert set(Reason) - advised == without
