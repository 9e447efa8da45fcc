"""Who gets an agent when a room starts."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from voicesession.admission import (
    Admission,
    AdmissionLimits,
    Admit,
    AlreadyServed,
    NotOurs,
    Refuse,
    RoomStart,
    decide_admission,
)
from voicesession.customer_words import RefusalReason
from voicesession.models import AgentProfile, AgentProfileSpec, Metadata, Phase, VoiceSession
from voicesession.names import CALL_LABEL, PROFILE_LABEL, short_hash, voice_session_name
from voicesession.tickets import CallTicket, new_ticket

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
LIMITS = AdmissionLimits()


def make_ticket(**fields: Any) -> CallTicket:
    return new_ticket("default", **{"issued_at": NOW - timedelta(seconds=1), **fields})


def make_room(ticket: CallTicket, sid: str = "RM_one", created_at: datetime = NOW, name: str = "room") -> RoomStart:
    return RoomStart(name, sid, created_at, ticket.model_dump_json(by_alias=True))


def make_profile(**spec: Any) -> dict[str, AgentProfile]:
    return {"default": AgentProfile(metadata=Metadata(name="default"), spec=AgentProfileSpec(**spec))}


def make_session(phase: Phase | None = None, name: str = "vs-other", **spec: Any) -> VoiceSession:
    labels = spec.pop("labels", {})
    return VoiceSession.model_validate(
        {"metadata": {"name": name, "labels": labels}, "spec": spec, "status": {"phase": phase}}
    )


def created(admission: Admission) -> VoiceSession:
    assert isinstance(admission, Admit), admission
    return VoiceSession.model_validate(admission.voice_session_body)


def refusal(admission: Admission) -> Refuse:
    assert isinstance(admission, Refuse), admission
    return admission


@pytest.mark.parametrize("metadata", ["", "{}", "hello", "[1]", '{"callId": "short", "issuedAt": "2030-01-01T00:00Z"}'])
def test_a_room_without_a_ticket_is_not_ours(metadata: str) -> None:
    assert decide_admission(RoomStart("room", "RM", NOW, metadata), NOW, [], make_profile(), LIMITS) == NotOurs()


def test_a_room_whose_name_the_api_server_would_refuse_is_not_ours() -> None:
    assert decide_admission(make_room(make_ticket(), name="a b"), NOW, [], make_profile(), LIMITS) == NotOurs()


@pytest.mark.parametrize(("phase", "finished"), [(None, False), (Phase.ACTIVE, False), (Phase.ENDED, True)])
def test_a_start_that_has_a_voice_session_gets_no_second_one(phase: Phase | None, finished: bool) -> None:
    room = make_room(make_ticket())
    by_name = make_session(phase, name=voice_session_name("RM_one"))
    by_sid = make_session(phase, name="by-hand", room="room", roomSid="RM_one")
    for each in (by_name, by_sid):
        assert decide_admission(room, NOW, [each], make_profile(), LIMITS) == AlreadyServed(
            each.metadata.name, finished
        )


def test_a_start_beyond_the_ticket_s_age_is_refused_even_though_livekit_refreshed_the_token() -> None:
    ticket = make_ticket(issued_at=NOW - timedelta(seconds=120))
    assert isinstance(decide_admission(make_room(ticket), NOW, [], make_profile(), LIMITS), Admit)
    late = make_room(ticket, created_at=NOW + timedelta(seconds=1))
    assert refusal(decide_admission(late, NOW, [], make_profile(), LIMITS)).reason == RefusalReason.TICKET_EXPIRED


def test_a_room_that_waited_for_the_api_server_is_served_when_it_is_back() -> None:
    room = make_room(make_ticket())
    minute_later = NOW + timedelta(seconds=179)
    assert isinstance(decide_admission(room, minute_later, [], make_profile(), LIMITS), Admit)
    too_late = NOW + timedelta(seconds=181)
    assert refusal(decide_admission(room, too_late, [], make_profile(), LIMITS)).reason == RefusalReason.ROOM_TOO_OLD


def test_finished_starts_of_a_call_count_too() -> None:
    ticket = make_ticket()
    before = [
        make_session(Phase.ENDED, name=f"vs-{n}", room="room", labels={CALL_LABEL: ticket.call_id}) for n in range(3)
    ]
    assert isinstance(decide_admission(make_room(ticket), NOW, before[:2], make_profile(), LIMITS), Admit)
    refused = refusal(decide_admission(make_room(ticket), NOW, before, make_profile(), LIMITS))
    assert refused.reason == RefusalReason.TOO_MANY_STARTS
    assert refused.retry_after is None


def test_a_full_profile_refuses_and_says_when_to_try_again() -> None:
    profiles = make_profile(max_sessions=1)
    running = make_session(Phase.PENDING, room="other")
    refused = refusal(decide_admission(make_room(make_ticket()), NOW, [running], profiles, LIMITS))
    assert (refused.reason, refused.retry_after) == (RefusalReason.PROFILE_FULL, 15)
    over = make_session(Phase.FAILED, room="other")
    same_room = make_session(Phase.ACTIVE, room="room", roomSid="RM_zero")
    assert isinstance(decide_admission(make_room(make_ticket()), NOW, [over, same_room], profiles, LIMITS), Admit)


def test_a_tenant_is_bound_across_its_profiles_and_others_are_not() -> None:
    limits = AdmissionLimits(tenant_max_sessions=1)
    running = make_session(Phase.ACTIVE, room="other", profile="another", tenant="acme")
    acme = make_room(make_ticket(tenant="acme"))
    assert refusal(decide_admission(acme, NOW, [running], make_profile(), limits)).reason == RefusalReason.TENANT_FULL
    beta = make_room(make_ticket(tenant="beta"))
    assert isinstance(decide_admission(beta, NOW, [running], make_profile(), limits), Admit)


def test_a_profile_that_went_away_is_named() -> None:
    refused = refusal(decide_admission(make_room(make_ticket()), NOW, [], {}, LIMITS))
    assert refused.reason == RefusalReason.PROFILE_MISSING
    assert "'default'" in refused.message


def test_a_room_that_belongs_to_a_voice_session_starts_no_other() -> None:
    room = make_room(make_ticket(voice_session="mine"))
    assert decide_admission(room, NOW, [], make_profile(), LIMITS) == NotOurs()
    by_hand = make_session(name="mine")
    assert decide_admission(room, NOW, [by_hand], make_profile(), LIMITS) == AlreadyServed("mine", False)
    of_another_start = make_session(name="mine", room="room", roomSid="RM_zero")
    for known in ([of_another_start], []):
        later = decide_admission(room, NOW + timedelta(seconds=31), known, make_profile(), LIMITS)
        assert refusal(later).reason == RefusalReason.CALL_GONE


def test_a_finished_start_is_kept_as_long_as_it_has_to_be_counted() -> None:
    admitted = make_session(labels={CALL_LABEL: "x" * 32})
    assert LIMITS.kept_after_finish(admitted, 0) == timedelta(seconds=300)
    assert LIMITS.kept_after_finish(admitted, 600) == timedelta(seconds=600)
    assert LIMITS.kept_after_finish(make_session(), 0) == timedelta(0)


def test_a_name_too_long_for_a_label_becomes_a_hash() -> None:
    name = "a" * 64
    profiles = {name: AgentProfile(metadata=Metadata(name=name))}
    made = created(decide_admission(make_room(new_ticket(name, issued_at=NOW)), NOW, [], profiles, LIMITS))
    assert made.metadata.labels[PROFILE_LABEL] == short_hash(name)
    assert made.spec.profile == name
