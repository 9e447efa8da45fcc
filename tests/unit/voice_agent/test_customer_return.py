"""With which options an agent session is started, so that its customer may come back."""

from typing import Any

import pytest
from livekit.agents.voice.room_io import RoomInputOptions, RoomOptions, RoomOutputOptions

from voice_agent.customer_return import stay_open


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"room_options": RoomOptions(close_on_disconnect=False)}),
        (
            {"room_options": RoomOptions(text_output=False, participant_identity="ada")},
            {"room_options": RoomOptions(text_output=False, participant_identity="ada", close_on_disconnect=False)},
        ),
        (
            {"room_input_options": RoomInputOptions(video_enabled=True)},
            {"room_input_options": RoomInputOptions(video_enabled=True, close_on_disconnect=False)},
        ),
        (
            {"room_output_options": RoomOutputOptions(audio_enabled=False)},
            {"room_input_options": RoomInputOptions(close_on_disconnect=False)},
        ),
    ],
)
def test_a_session_closes_on_no_disconnect_and_keeps_its_other_options(
    given: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert stay_open(given) == expected
