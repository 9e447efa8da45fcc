"""Where speech ends in a recording."""

import pytest

from testing.sound import SAMPLE_RATE, audible_part, silence_after
from voice_agent.apology import recorded_apology


def silence(seconds: float) -> bytes:
    return bytes(int(seconds * SAMPLE_RATE) * 2)


def test_a_recording_ends_where_its_sound_does() -> None:
    recording = recorded_apology()  # a WAV with half a second of silence at its end
    assert silence_after(recording) == pytest.approx(0.5, abs=0.02)
    spoken = audible_part(recording)
    assert silence_after(spoken) == 0
    assert len(recording) - len(spoken) > len(silence(0.7)), "there is silence before the first word too"
    assert spoken in recording


@pytest.mark.parametrize("seconds", [0.0, 0.005, 0.3, 2.0])
def test_silence_of_any_length(seconds: float) -> None:
    assert silence_after(audible_part(recorded_apology()) + silence(seconds)) == pytest.approx(seconds, abs=0.01)
    assert silence_after(silence(seconds)) == pytest.approx(seconds, abs=1e-3)
    assert audible_part(silence(seconds)) == b""


def test_silence_inside_belongs_to_the_speech() -> None:
    word = audible_part(recorded_apology())
    assert audible_part(silence(0.2) + word + silence(1) + word + silence(0.2)).count(silence(0.9)) == 1
