"""What an agent pod counts and times of its call, as it tells the operator. Pure.

Code of a team's runs beside what tells: each number has bounds, and what becomes a label is a name.
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from voicesession.models import Model
from voicesession.provider_keys import Part

Count = Annotated[int, Field(ge=0, le=1_000_000_000)]
Millis = Annotated[int, Field(ge=0, le=86_400_000)]
Name = Annotated[str, Field(max_length=100)]

# What came of a model's failure: it was asked again, what is behind it was asked, or it was given up.
FailureOutcome = Literal["retried", "fallback", "failed"]


class ModelName(Model):
    """A model, and whose it is: a provider of the pool's by its name, any other by its host."""

    provider: Name
    model: Name


class Turn(Model):
    """One answer's latencies; none where a part does not exist. `llm`, `tts`: whose the first token and byte were."""

    transcription_millis: Millis | None = None
    end_of_turn_millis: Millis | None = None
    llm_first_token_millis: Millis | None = None
    tts_first_byte_millis: Millis | None = None
    answer_millis: Millis | None = None
    llm: ModelName | None = None
    tts: ModelName | None = None


class FirstWord(Model):
    """The agent can be heard for the first time, unasked.

    `millis`: since its customer came; None where they were in the room before it.
    """

    millis: Millis | None = None


class ModelUse(Model):
    """What one model was used for. `cached_tokens` are among the input's; `speech_seconds`: heard, or spoken."""

    part: Part
    provider: Name
    model: Name
    input_tokens: Count = 0
    cached_tokens: Count = 0
    output_tokens: Count = 0
    characters: Count = 0
    speech_seconds: float = Field(default=0.0, ge=0, le=1_000_000)


class ModelFailures(Model):
    """How often one part of a provider's has failed."""

    part: Literal[Part, "realtime"]
    provider: Name
    outcome: FailureOutcome
    count: Count


class Measured(Model):
    """What has been counted and timed since the last of these; told once.

    `replies`: what the agent has begun to say, `interrupted` among them. `connect_millis`: `Room.connect` alone.
    """

    type: Literal["measured"] = "measured"
    at: datetime
    turn: Turn | None = None
    first_word: FirstWord | None = None
    connect_millis: Millis | None = None
    replies: Count = 0
    interrupted: Count = 0
    used: list[ModelUse] = Field(default_factory=list, max_length=20)
    failures: list[ModelFailures] = Field(default_factory=list, max_length=50)
