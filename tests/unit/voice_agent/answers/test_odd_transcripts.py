"""Transcription servers as they are found: a text, nothing said, or a failure with a name."""

from dataclasses import dataclass, field

import pytest
import pytest_asyncio
from livekit import rtc
from livekit.plugins import openai

from testing.odd_client import PATIENT, TRIES, PatientClient, describe, noting, try_all
from testing.odd_transcripts import ODDITIES, Odd
from testing.sound import build_murmur
from voice_agent.answers.client import ModelClient


@dataclass
class Outcome:
    """What was heard, or what failed."""

    text: str = ""
    errors: list[Exception] = field(default_factory=list)


async def hear(odd: Odd, url: str, http: ModelClient) -> Outcome:
    model = openai.STT(client=PatientClient(odd.patience, base_url=url, http_client=http), model="whisper-1")
    outcome = Outcome()
    sound = build_murmur(0.2)
    frame = rtc.AudioFrame(sound, 24_000, 1, len(sound) // 2)
    with noting(model, outcome.errors, odd.name):
        outcome.text = (await model.recognize(frame, conn_options=TRIES)).alternatives[0].text
    return outcome


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def outcomes() -> dict[str, tuple[Outcome, int]]:
    """Each oddity's outcome, and how often its server was asked; all were tried at once."""
    return await try_all(ODDITIES, hear)


@pytest.mark.parametrize("odd", ODDITIES, ids=lambda odd: odd.name)
def test_an_odd_transcript(odd: Odd, outcomes: dict[str, tuple[Outcome, int]]) -> None:
    outcome, asked = outcomes[odd.name]
    assert outcome.text == odd.text
    assert bool(outcome.errors) == bool(odd.failure), outcome.errors
    if odd.failure:
        assert odd.failure in describe(outcome.errors[-1])
    if odd.patience is PATIENT:
        assert asked == odd.tries
