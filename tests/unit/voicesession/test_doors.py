"""Through which door a call came."""

import pytest

from voicesession.doors import find_door
from voicesession.models import VoiceSession
from voicesession.names import CALL_LABEL, voice_session_name


@pytest.mark.parametrize(
    ("name", "labels", "door"),
    [
        ("mine", {}, "applied"),
        (voice_session_name("RM_1"), {CALL_LABEL: "call-1"}, "token"),
        (voice_session_name("call-1"), {CALL_LABEL: "call-1"}, "connection-details"),
    ],
)
def test_the_door_is_read_from_the_name_and_its_call(name: str, labels: dict[str, str], door: str) -> None:
    session = VoiceSession.model_validate({"metadata": {"name": name, "labels": labels}, "spec": {}})
    assert find_door(session) == door
