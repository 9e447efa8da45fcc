"""One clock, whose times can be compared with those in objects."""

from datetime import UTC, timedelta

import pytest

from voicesession import clock
from voicesession.models import VoiceSession


def test_the_time_has_its_zone_and_compares_with_an_object_s() -> None:
    metadata = {"name": "call", "creationTimestamp": "2024-01-01T00:00:00Z"}
    created = VoiceSession.model_validate({"metadata": metadata, "spec": {}}).metadata.creation_timestamp
    assert created is not None
    assert clock.now() > created
    assert clock.now().tzinfo is UTC
    assert clock.now().utcoffset() == timedelta()


def test_what_is_decided_by_does_not_follow_a_clock_that_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    before = clock.steady()
    stepped = clock.now() + timedelta(seconds=60)
    monkeypatch.setattr(clock, "now", lambda: stepped)
    after = clock.steady()
    assert before <= after < before + timedelta(seconds=30)
    assert timedelta(seconds=30) < clock.wall_ahead() <= timedelta(seconds=61)


@pytest.mark.parametrize(("stamped", "moment"), [(None, 0), (0, 0), (50, 0), (-50, 0), (-90, -30)])
def test_another_process_s_stamp_is_trusted_to_a_minute_and_never_beyond_its_sight(
    stamped: int | None, moment: int
) -> None:
    seen_at = clock.steady()
    stamp = None if stamped is None else seen_at + timedelta(seconds=stamped)
    assert clock.at_first_sight(stamp, seen_at, timedelta(0)) == seen_at + timedelta(seconds=moment)
