"""Who gets an agent when a room starts."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kube.store import Store
from testing.tickets import FOREIGN_TICKETS, TICKETS
from voicesession.admission import (
    SESSION_INDEXES,
    Admission,
    AdmissionLimits,
    Admit,
    AlreadyServed,
    Grounds,
    NotOurs,
    Refuse,
    RoomStart,
    decide_admission,
)
from voicesession.customer_words import RefusalReason
from voicesession.models import AgentProfile, AgentProfileSpec, Metadata, Phase, VoiceSession
from voicesession.names import CALL_LABEL, PROFILE_LABEL, short_hash, voice_session_name
from voicesession.tickets import LEFT_TO_PEOPLE, CallTicket, new_ticket

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
LIMITS = AdmissionLimits()


def make_ticket(**fields: Any) -> CallTicket:
    return new_ticket("default", **{"issued_at": NOW - timedelta(seconds=1), **fields})


def make_room(ticket: CallTicket, sid: str = "RM_one", created_at: datetime = NOW, name: str = "room") -> RoomStart:
    return RoomStart(name, sid, created_at, TICKETS.sign(ticket, name))


def make_profile(**spec: Any) -> dict[str, AgentProfile]:
    return {"default": AgentProfile(metadata=Metadata(name="default"), spec=AgentProfileSpec(**spec))}


def make_session(phase: Phase | None = None, name: str = "vs-other", **spec: Any) -> VoiceSession:
    labels, status = spec.pop("labels", {}), spec.pop("status", {})
    return VoiceSession.model_validate(
        {"metadata": {"name": name, "uid": f"uid-of-{name}", "labels": labels, "resourceVersion": "1"}, "spec": spec}
        | {"status": {"phase": phase, **status}}
    )


def decide(
    room: RoomStart,
    now: datetime,
    sessions: Iterable[VoiceSession],
    profiles: Mapping[str, AgentProfile],
    limits: AdmissionLimits = LIMITS,
) -> Admission:
    store = Store(VoiceSession.model_validate, SESSION_INDEXES)
    for session in sessions:
        store.put(session.model_dump(mode="json", by_alias=True))
    return decide_admission(room, now, Grounds(store, profiles, limits, TICKETS))


def created(admission: Admission) -> VoiceSession:
    assert isinstance(admission, Admit), admission
    return VoiceSession.model_validate(admission.voice_session_body)


def refusal(admission: Admission) -> Refuse:
    assert isinstance(admission, Refuse), admission
    return admission


@pytest.mark.parametrize("metadata", ["", "{}", "hello", "[1]", '{"callId": "short", "issuedAt": "2030-01-01T00:00Z"}'])
def test_a_room_without_a_ticket_is_not_ours(metadata: str) -> None:
    assert decide(RoomStart("room", "RM", NOW, metadata), NOW, [], make_profile()) == NotOurs()


def test_a_room_that_its_call_has_left_to_people_is_nobodys_business() -> None:
    room = RoomStart("room", "RM_one", NOW, LEFT_TO_PEOPLE)
    over = make_session(Phase.ENDED, name=voice_session_name("RM_one"), room="room", roomSid="RM_one")
    assert decide(room, NOW, [over], make_profile()) == NotOurs()


def test_a_room_whose_name_the_api_server_would_refuse_is_not_ours() -> None:
    assert decide(make_room(make_ticket(), name="a b"), NOW, [], make_profile()) == NotOurs()


@pytest.mark.parametrize(("phase", "finished"), [(None, False), (Phase.ACTIVE, False), (Phase.ENDED, True)])
def test_a_start_that_has_a_voice_session_gets_no_second_one(phase: Phase | None, finished: bool) -> None:
    room = make_room(make_ticket())
    by_name = make_session(phase, name=voice_session_name("RM_one"))
    by_sid = make_session(phase, name="by-hand", room="room", roomSid="RM_one")
    for each in (by_name, by_sid):
        assert decide(room, NOW, [each], make_profile()) == AlreadyServed(each.metadata.name, finished)


@pytest.mark.parametrize(
    "metadata",
    [
        "",  # the agent was the first to come back, and its token makes a room without metadata
        TICKETS.sign(make_ticket(issued_at=NOW - timedelta(hours=5)), "room"),
        TICKETS.sign(make_ticket(voice_session="by-details"), "room"),
    ],
)
@pytest.mark.parametrize("phase", [None, Phase.PENDING, Phase.ACTIVE, Phase.RECOVERING])
def test_a_room_that_livekit_gave_another_sid_belongs_to_the_call_in_progress(
    metadata: str, phase: Phase | None
) -> None:
    served = make_session(phase, name="by-details", room="room", roomSid="RM_before")
    room = RoomStart("room", "RM_after", NOW, metadata)
    assert decide(room, NOW, [served], make_profile()) == AlreadyServed("by-details", finished=False)


def test_the_operator_s_own_room_is_known_by_its_name_too() -> None:
    served = make_session(Phase.ACTIVE, name="by-hand", status={"room": "room", "roomSid": "RM_before"})
    assert decide(RoomStart("room", "RM_after", NOW, ""), NOW, [served], {}) == AlreadyServed("by-hand", finished=False)


def test_a_later_start_of_a_room_whose_call_is_over_is_admitted_anew() -> None:
    over = make_session(Phase.ENDED, name="vs-one", room="room", roomSid="RM_one", status={"endedAt": NOW.isoformat()})
    again = make_room(make_ticket(), sid="RM_two", created_at=NOW + timedelta(seconds=1))
    assert isinstance(decide(again, NOW + timedelta(seconds=2), [over], make_profile()), Admit)


def test_a_room_without_a_ticket_is_left_over_if_its_call_ended_after_it_began() -> None:
    over = make_session(Phase.ENDED, name="vs-one", room="room", roomSid="RM_one", status={"endedAt": NOW.isoformat()})
    before = RoomStart("room", "RM_two", NOW - timedelta(seconds=1), "")
    assert decide(before, NOW, [over], {}) == AlreadyServed("vs-one", finished=True)
    after = RoomStart("room", "RM_two", NOW + timedelta(seconds=1), "")
    assert decide(after, NOW, [over], {}) == NotOurs()


def test_a_ticket_that_another_installation_signed_or_nobody_is_not_ours_whatever_it_says() -> None:
    ticket = make_ticket(voice_session="vs-of-theirs")
    for metadata in (FOREIGN_TICKETS.sign(ticket, "room"), ticket.model_dump_json(by_alias=True)):
        for now in (NOW, NOW + timedelta(hours=1)):
            assert decide(RoomStart("room", "RM_one", NOW, metadata), now, [], make_profile()) == NotOurs(foreign=True)


def test_a_start_beyond_the_ticket_s_age_is_refused_even_though_livekit_refreshed_the_token() -> None:
    ticket = make_ticket(issued_at=NOW - timedelta(seconds=120))
    assert isinstance(decide(make_room(ticket), NOW, [], make_profile()), Admit)
    late = make_room(ticket, created_at=NOW + timedelta(seconds=1))
    assert refusal(decide(late, NOW, [], make_profile())).reason == RefusalReason.TICKET_EXPIRED


def test_a_room_that_waited_for_the_api_server_is_served_when_it_is_back() -> None:
    room = make_room(make_ticket())
    minute_later = NOW + timedelta(seconds=179)
    assert isinstance(decide(room, minute_later, [], make_profile()), Admit)
    too_late = NOW + timedelta(seconds=181)
    assert refusal(decide(room, too_late, [], make_profile())).reason == RefusalReason.ROOM_TOO_OLD


def test_finished_starts_of_a_call_count_too() -> None:
    ticket = make_ticket()
    before = [
        make_session(Phase.ENDED, name=f"vs-{n}", room="room", labels={CALL_LABEL: ticket.call_id}) for n in range(3)
    ]
    assert isinstance(decide(make_room(ticket), NOW, before[:2], make_profile()), Admit)
    refused = refusal(decide(make_room(ticket), NOW, before, make_profile()))
    assert refused.reason == RefusalReason.TOO_MANY_STARTS
    assert refused.retry_after is None


def test_a_full_profile_refuses_and_says_when_to_try_again() -> None:
    profiles = make_profile(max_sessions=1)
    running = make_session(Phase.PENDING, room="other")
    refused = refusal(decide(make_room(make_ticket()), NOW, [running], profiles))
    assert (refused.reason, refused.retry_after) == (RefusalReason.PROFILE_FULL, 15)
    over = make_session(Phase.FAILED, room="other")
    same_room = make_session(Phase.ACTIVE, room="room", roomSid="RM_zero")
    assert isinstance(decide(make_room(make_ticket()), NOW, [over, same_room], profiles), Admit)


def test_a_tenant_is_bound_across_its_profiles_and_others_are_not() -> None:
    limits = AdmissionLimits(tenant_max_sessions=1)
    running = make_session(Phase.ACTIVE, room="other", profile="another", tenant="acme")
    acme = make_room(make_ticket(tenant="acme"))
    assert refusal(decide(acme, NOW, [running], make_profile(), limits)).reason == RefusalReason.TENANT_FULL
    beta = make_room(make_ticket(tenant="beta"))
    assert isinstance(decide(beta, NOW, [running], make_profile(), limits), Admit)


def test_a_profile_that_went_away_is_named() -> None:
    refused = refusal(decide(make_room(make_ticket()), NOW, [], {}))
    assert refused.reason == RefusalReason.PROFILE_MISSING
    assert "'default'" in refused.message


def test_a_profile_that_was_bound_to_other_tenants_since_is_gone_for_this_one() -> None:
    profiles = make_profile(allowed_tenants=["beta"])
    for tenant in ("acme", None):
        refused = refusal(decide(make_room(make_ticket(tenant=tenant)), NOW, [], profiles))
        assert (refused.reason, refused.retry_after) == (RefusalReason.PROFILE_MISSING, None)
    assert isinstance(decide(make_room(make_ticket(tenant="beta")), NOW, [], profiles), Admit)


def test_a_room_that_belongs_to_a_voice_session_starts_no_other() -> None:
    room = make_room(make_ticket(voice_session="mine"))
    assert decide(room, NOW, [], make_profile()) == NotOurs()
    by_hand = make_session(name="mine")
    assert decide(room, NOW, [by_hand], make_profile()) == AlreadyServed("mine", False)
    of_another_start = make_session(Phase.ENDED, name="mine", room="room", roomSid="RM_zero")
    for known in ([of_another_start], []):
        later = decide(room, NOW + timedelta(seconds=31), known, make_profile())
        assert refusal(later).reason == RefusalReason.CALL_GONE


def test_a_finished_start_is_kept_as_long_as_it_has_to_be_counted() -> None:
    admitted = make_session(labels={CALL_LABEL: "x" * 32})
    assert LIMITS.kept_after_finish(admitted, 0) == timedelta(seconds=300)
    assert LIMITS.kept_after_finish(admitted, 600) == timedelta(seconds=600)
    assert LIMITS.kept_after_finish(make_session(), 0) == timedelta(0)


def test_a_name_too_long_for_a_label_becomes_a_hash() -> None:
    name = "a" * 64
    profiles = {name: AgentProfile(metadata=Metadata(name=name))}
    made = created(decide(make_room(new_ticket(name, issued_at=NOW)), NOW, [], profiles))
    assert made.metadata.labels[PROFILE_LABEL] == short_hash(name)
    assert made.spec.profile == name
