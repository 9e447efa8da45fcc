"""Speech servers as they are found: what is heard is speech, or it failed, and that has a name."""

from dataclasses import dataclass, field

import pytest
import pytest_asyncio
from livekit.plugins import openai

from testing.odd_client import PATIENT, TRIES, PatientClient, describe, noting, try_all
from testing.odd_speech import ODDITIES, SECONDS, Odd
from voice_agent.answers.client import ModelClient


@dataclass
class Outcome:
    """What the customer would hear, in seconds, or what failed."""

    seconds: float = 0.0
    errors: list[Exception] = field(default_factory=list)


async def speak(odd: Odd, url: str, http: ModelClient) -> Outcome:
    model = openai.TTS(client=PatientClient(odd.patience, base_url=url, http_client=http), response_format="pcm")
    outcome = Outcome()
    with noting(model, outcome.errors, odd.name):
        async with model.synthesize("Your table is booked.", conn_options=TRIES) as speech:
            outcome.seconds = (await speech.collect()).duration
    return outcome


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def outcomes() -> dict[str, tuple[Outcome, int]]:
    """Each oddity's outcome, and how often its server was asked; all were tried at once."""
    return await try_all(ODDITIES, speak)


@pytest.mark.parametrize("odd", ODDITIES, ids=lambda odd: odd.name)
def test_odd_speech(odd: Odd, outcomes: dict[str, tuple[Outcome, int]]) -> None:
    outcome, asked = outcomes[odd.name]
    if odd.failure:
        assert outcome.errors
        assert odd.failure in describe(outcome.errors[-1])
        assert outcome.seconds == 0
    else:
        assert outcome.seconds == pytest.approx(SECONDS, abs=0.05)
    if odd.patience is PATIENT:
        assert asked == odd.tries
