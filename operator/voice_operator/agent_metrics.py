"""What agent pods measure, for Prometheus: added up here, since they live too short to be scraped.

Every label has a closed set of values, or those of `label_names`.
"""

from prometheus_client import Counter, Gauge, Histogram

from voice_operator.label_names import MODELS, PROFILES, PROVIDERS
from voicesession.measures import Measured, ModelName, ModelUse, Turn

# A pause is noticed from 0.2 s on, and most of what is tuned lies below 2 s.
_SECONDS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)

ANSWER_SECONDS = Histogram(
    "voice_agent_answer_seconds",
    "From the end of what the customer said to the first sound of the answer.",
    ("profile",),
    buckets=_SECONDS,
)
END_OF_TURN_SECONDS = Histogram(
    "voice_agent_end_of_turn_seconds",
    "From the end of what the customer said to the agent taking its turn.",
    ("profile",),
    buckets=_SECONDS,
)
TRANSCRIPTION_SECONDS = Histogram(
    "voice_agent_transcription_seconds",
    "From the end of what the customer said to its text.",
    ("profile",),
    buckets=_SECONDS,
)
LLM_FIRST_TOKEN_SECONDS = Histogram(
    "voice_agent_llm_first_token_seconds",
    "From the question to a chat model to its first token.",
    ("provider", "model"),
    buckets=_SECONDS,
)
TTS_FIRST_AUDIO_SECONDS = Histogram(
    "voice_agent_tts_first_audio_seconds",
    "From the first words given to a text-to-speech model to the first sound of it.",
    ("provider", "model"),
    buckets=_SECONDS,
)
FIRST_WORD_SECONDS = Histogram(
    "voice_agent_first_word_seconds",
    "From a VoiceSession being seen to the agent's first word, where the agent speaks first; where the customer came "
    "after the agent, from their coming.",
    ("profile", "start_type"),
    buckets=_SECONDS,
)
CONNECT_SECONDS = Histogram(
    "voice_agent_room_connect_seconds", "An agent's connect to its room alone.", buckets=_SECONDS
)
REPLIES = Counter(
    "voice_agent_replies_total",
    "What agents have begun to say, by whether the customer interrupted it: true or false.",
    ("profile", "interrupted"),
)
FAILURES = Counter(
    "voice_agent_model_failures_total",
    "Failures of providers' models by what came of each: retried (it was asked again), fallback (there is another "
    "provider behind it), failed (given up).",
    ("provider", "part", "outcome"),
)
TOKENS = Counter(
    "voice_agent_tokens_total",
    "Tokens of models by kind: input, cached (of the input, served from a cache) or output.",
    ("provider", "model", "kind"),
)
SPEECH_SECONDS = Counter(
    "voice_agent_speech_seconds_total",
    "Speech that models have heard (part stt) or spoken (part tts), in seconds.",
    ("provider", "model", "part"),
)
CHARACTERS = Counter(
    "voice_agent_characters_total", "Characters that text-to-speech models were given.", ("provider", "model")
)
UNWRITTEN_ROWS = Gauge("voice_agent_unwritten_rows", "Rows of conversations that agents have not written yet.")
MEMORY_BYTES = Gauge("voice_agent_memory_bytes", "Resident memory of the agents in calls, added up.", ("pool",))
MEMORY_MAX_BYTES = Gauge("voice_agent_memory_max_bytes", "Resident memory of the largest agent in a call.", ("pool",))


# What leads from a measurement to its call's trace; None where nothing does.
Exemplar = dict[str, str] | None


def count_measured(profile: str, measured: Measured, exemplar: Exemplar = None) -> None:
    """Adds what an agent of this profile has measured; its first word aside."""
    names = PROFILES.bound(profile)
    if measured.turn:
        _count_turn(names, measured.turn, exemplar)
    if measured.connect_millis is not None:
        CONNECT_SECONDS.observe(measured.connect_millis / 1000)
    if measured.replies:
        interrupted = min(measured.interrupted, measured.replies)
        REPLIES.labels(*names, "true").inc(interrupted)
        REPLIES.labels(*names, "false").inc(measured.replies - interrupted)
    for used in measured.used:
        _count_use(used)
    for failed in measured.failures:
        FAILURES.labels(*PROVIDERS.bound(failed.provider), failed.part, failed.outcome).inc(failed.count)


def count_first_word(profile: str, start_type: str, seconds: float, exemplar: Exemplar = None) -> None:
    """Adds a call whose agent was first heard after so many seconds."""
    FIRST_WORD_SECONDS.labels(*PROFILES.bound(profile), start_type).observe(seconds, exemplar)


def _count_turn(profile: tuple[str, ...], turn: Turn, exemplar: Exemplar) -> None:
    for collector, labels, millis in (
        (ANSWER_SECONDS, profile, turn.answer_millis),
        (END_OF_TURN_SECONDS, profile, turn.end_of_turn_millis),
        (TRANSCRIPTION_SECONDS, profile, turn.transcription_millis),
        (LLM_FIRST_TOKEN_SECONDS, _bound(turn.llm), turn.llm_first_token_millis),
        (TTS_FIRST_AUDIO_SECONDS, _bound(turn.tts), turn.tts_first_byte_millis),
    ):
        if millis is not None:
            collector.labels(*labels).observe(millis / 1000, exemplar)


def _count_use(used: ModelUse) -> None:
    model = MODELS.bound(used.provider, used.model)
    tokens = {"input": used.input_tokens, "cached": used.cached_tokens, "output": used.output_tokens}
    for kind, count in tokens.items():
        if count:
            TOKENS.labels(*model, kind).inc(count)
    if used.speech_seconds:
        SPEECH_SECONDS.labels(*model, used.part).inc(used.speech_seconds)
    if used.characters:
        CHARACTERS.labels(*model).inc(used.characters)


def _bound(name: ModelName | None) -> tuple[str, ...]:
    return MODELS.bound(name.provider if name else "", name.model if name else "")
