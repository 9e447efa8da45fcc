"""What is told of a call that has only its VoiceSession, and who may have the page at all."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from conversations.viewer import Search
from testing.token_service_app import build_settings
from token_service.calls_story import Call, build_story, build_summary, list_unwritten
from voicesession.models import VoiceSession

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
UID = "00000000-0000-4000-8000-000000000001"
JOINED = {"boundAt": NOON.isoformat(), "agentJoinedAt": NOON.isoformat(), "attempts": 1}


def call_of(**status: Any) -> Call:
    metadata = {"uid": UID, "creationTimestamp": NOON.isoformat()}
    spec = {"room": "room", "tenant": "acme"}
    return Call(None, VoiceSession.model_validate({"metadata": metadata, "spec": spec, "status": status}))


def condition(kind: str, status: str, reason: str, minutes: int = 1) -> dict[str, str]:
    at = (NOON + timedelta(minutes=minutes)).isoformat()
    return {"type": kind, "status": status, "reason": reason, "message": "Why.", "lastTransitionTime": at}


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ({}, []),
        ({"conditions": [condition("PodBound", "False", "NoCapacity")]}, [("waiting", "NoCapacity: Why.")]),
        (
            {**JOINED, "conditions": [condition("AgentJoined", "False", "AgentCrashed")]},
            [
                ("claimed", "Pod None on node None."),
                ("joined", "The agent is in the room."),
                ("lost", "AgentCrashed: Why."),
            ],
        ),
        (
            {
                **JOINED,
                "endedAt": (NOON + timedelta(minutes=2)).isoformat(),
                "endReason": "idle",
                "message": "Silence.",
                "conditions": [
                    condition("AgentJoined", "False", "CallEnded"),
                    condition("AgentDone", "False", "Finishing"),
                ],
            },
            [
                *(("claimed", "Pod None on node None."), ("joined", "The agent is in the room.")),
                *(("working", "Finishing: Why."), ("ended", "idle: Silence.")),
            ],
        ),
    ],
)
def test_what_happened(status: dict[str, Any], told: list[tuple[str, str]]) -> None:
    story = build_story(call_of(**status), [], [])
    assert [(event.kind, event.text) for event in story.events] == [
        ("created", "Asked for, with profile default."),
        *told,
    ]


def test_a_call_lasts_until_now_or_to_its_end() -> None:
    later = NOON + timedelta(seconds=90)
    assert build_summary(call_of(phase="Pending"), later).duration_seconds == 90
    ended = build_summary(call_of(phase="Failed", reason="NoCapacity", endedAt=NOON.isoformat()), later)
    assert (ended.duration_seconds, ended.reason, ended.attempts) == (0, "NoCapacity", 0)


@pytest.mark.parametrize(
    ("search", "found"),
    [
        (Search(), True),
        (Search("acme", NOON, NOON + timedelta(seconds=1), "default", "NoCapacity", "room"), True),
        (Search("beta"), False),
        (Search(since=NOON + timedelta(seconds=1)), False),
        (Search(until=NOON), False),
        (Search(profile="shop"), False),
        (Search(reason="idle"), False),
        (Search(room="another"), False),
    ],
)
def test_what_has_no_row_is_found_by_the_same_conditions(search: Search, found: bool) -> None:
    sessions = [call_of(reason="NoCapacity").session, call_of(**JOINED).session]
    calls = list_unwritten([each for each in sessions if each], search, set(), 9)
    assert [call.session for call in calls] == ([sessions[0]] if found else [])
    assert list_unwritten([each for each in sessions if each], search, {UID}, 9) == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"auth_mode": "none", "calls_database_url": "postgresql://a/b"}, "without keys anybody would see every call"),
        ({"auth_mode": "api-key", "api_keys_file": "keys"}, "needs CALLS_DATABASE_URL"),
    ],
)
def test_the_page_needs_keys_and_a_database(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        build_settings(calls_page=True, **settings)
