"""One clock, whose times can be compared with those in objects."""

from datetime import UTC, timedelta

from voicesession import clock
from voicesession.models import VoiceSession


def test_the_time_has_its_zone_and_compares_with_an_object_s() -> None:
    metadata = {"name": "call", "creationTimestamp": "2024-01-01T00:00:00Z"}
    created = VoiceSession.model_validate({"metadata": metadata, "spec": {}}).metadata.creation_timestamp
    assert created is not None
    assert clock.now() > created
    assert clock.now().tzinfo is UTC
    assert clock.now().utcoffset() == timedelta()
