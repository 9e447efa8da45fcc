"""What an agent is given."""

from testing.operator_objects import NOW, UID, make_pool, make_profile, make_session
from voice_operator.calls.assignment import build_assignment, own_room_name
from voice_operator.events import build_event
from voicesession.assignment import Assignment, conversation_write_token
from voicesession.models import EffectiveLimits
from voicesession.names import is_valid_room
from voicesession.serving import Serving

KEY = b"k" * 32
SECRET = "s" * 32


def test_the_operators_own_room_has_the_same_unguessable_name_each_time() -> None:
    name = own_room_name(KEY, UID)
    assert name == own_room_name(KEY, UID)
    assert is_valid_room(name)
    assert name != own_room_name(KEY, "another")
    assert name != own_room_name(b"x" * 32, UID)


def test_the_name_of_a_room_is_no_write_token() -> None:
    assert conversation_write_token(KEY, UID, 1)[:22] not in own_room_name(KEY, UID)


def test_the_assignment_says_everything_about_the_call() -> None:
    session = make_session(tenant="acme", variables={"a": "b"}, participantIdentity="ada", localMode=True)
    serving = Serving(make_profile("support"), make_pool(), "cloud", EffectiveLimits(idle_timeout_seconds=9))
    made = build_assignment(session, serving, 2, "room", "RM_1", "ws://livekit", "token", KEY)
    assert made == Assignment(
        session_id=UID,
        voice_session="call",
        attempt=2,
        room="room",
        room_sid="RM_1",
        livekit_url="ws://livekit",
        room_token="token",
        participant_identity="ada",
        profile_name="support",
        profile=serving.profile.spec,
        provider="cloud",
        local_mode=True,
        limits=serving.limits,
        variables={"a": "b"},
        tenant="acme",
        write_token=conversation_write_token(KEY, UID, 2),
    )
    assert Assignment.model_validate_json(made.model_dump_json(by_alias=True)) == made


def test_an_event_is_about_its_voicesession() -> None:
    event = build_event(make_session(), "Normal", "AgentJoined", "words", NOW)
    assert event["metadata"].pop("name").startswith("call.")
    assert event == {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"namespace": "here"},
        "involvedObject": {
            "apiVersion": "voiceagents.dev/v1alpha1",
            "kind": "VoiceSession",
            "name": "call",
            "namespace": "here",
            "uid": UID,
        },
        "type": "Normal",
        "reason": "AgentJoined",
        "message": "words",
        "source": {"component": "voice-operator"},
        "reportingComponent": "voice-operator",
        "firstTimestamp": "2026-01-01T12:00:00Z",
        "lastTimestamp": "2026-01-01T12:00:00Z",
        "count": 1,
    }
