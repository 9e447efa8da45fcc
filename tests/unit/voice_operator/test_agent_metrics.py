"""What agents tell, added up: each family gets its sample, and series do not grow with what is told."""

import json

import pytest
from prometheus_client import REGISTRY, generate_latest

from testing.operator_objects import NOW
from voice_operator.agent_metrics import ANSWER_SECONDS, FIRST_WORD_SECONDS, count_first_word, count_measured
from voicesession.assignment import parse_pod_event
from voicesession.measures import Measured, ModelFailures, ModelName, ModelUse, Turn

PLANTED = "my card is 4111 1111 1111 1111"


def read(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_each_family_has_its_sample() -> None:
    ear, chat, voice = (ModelName(provider="added", model=name) for name in ("ear", "chat", "voice"))
    turn = Turn(
        transcription_millis=200,
        end_of_turn_millis=500,
        llm_first_token_millis=300,
        tts_first_byte_millis=150,
        answer_millis=950,
        llm=chat,
        tts=voice,
    )
    used = [
        ModelUse(part="stt", provider=ear.provider, model=ear.model, speech_seconds=2.5),
        ModelUse(
            part="llm", provider=chat.provider, model=chat.model, input_tokens=7, cached_tokens=2, output_tokens=5
        ),
        ModelUse(part="tts", provider=voice.provider, model=voice.model, characters=40, speech_seconds=3.0),
    ]
    failures = [ModelFailures(part="llm", provider="added", outcome="retried", count=2)]
    measured = Measured(at=NOW, turn=turn, replies=3, interrupted=1, used=used, failures=failures)
    for _ in range(2):
        count_measured("adder", measured)
    for name, seconds in (("answer", 1.9), ("end_of_turn", 1.0), ("transcription", 0.4)):
        assert read(f"voice_agent_{name}_seconds_sum", profile="adder") == pytest.approx(seconds)
    assert read("voice_agent_llm_first_token_seconds_count", provider="added", model="chat") == 2
    assert read("voice_agent_tts_first_audio_seconds_count", provider="added", model="voice") == 2
    assert read("voice_agent_replies_total", profile="adder", interrupted="true") == 2
    assert read("voice_agent_replies_total", profile="adder", interrupted="false") == 4
    assert read("voice_agent_model_failures_total", provider="added", part="llm", outcome="retried") == 4
    for kind, count in (("input", 14), ("cached", 4), ("output", 10)):
        assert read("voice_agent_tokens_total", provider="added", model="chat", kind=kind) == count
    assert read("voice_agent_speech_seconds_total", provider="added", model="ear", part="stt") == 5
    assert read("voice_agent_speech_seconds_total", provider="added", model="voice", part="tts") == 6
    assert read("voice_agent_characters_total", provider="added", model="voice") == 80


def test_latencies_lead_to_their_calls_trace() -> None:
    found = {"trace_id": "0af7651916cd43dd8448eb211c80319c"}
    count_measured("led", Measured(at=NOW, turn=Turn(answer_millis=950)), found)
    count_first_word("led", "Warm", 0.7, found)
    for collector in (ANSWER_SECONDS, FIRST_WORD_SECONDS):
        samples = [sample for metric in collector.collect() for sample in metric.samples]
        led = [sample.exemplar for sample in samples if sample.exemplar and sample.labels["profile"] == "led"]
        assert [exemplar.labels for exemplar in led] == [found]


def test_no_words_become_a_label() -> None:
    named = ModelName(provider=PLANTED, model=PLANTED)
    used = [ModelUse(part="llm", provider=PLANTED, model=PLANTED, input_tokens=1)]
    failures = [ModelFailures(part="llm", provider=PLANTED, outcome="failed", count=1)]
    turn = Turn(llm_first_token_millis=1, llm=named)
    count_measured(PLANTED, Measured(at=NOW, turn=turn, replies=1, used=used, failures=failures))
    assert read("voice_agent_tokens_total", provider="other", model="other", kind="input") >= 1
    assert b"4111" not in generate_latest()


@pytest.mark.parametrize(
    "wrong",
    [
        {"replies": -1},
        {"replies": 10**12},
        {"used": [{"part": "llm", "provider": "a", "model": "m", "inputTokens": -5}]},
        {"used": [{"part": "tts", "provider": "a", "model": "m", "speechSeconds": "NaN"}]},
        {"failures": [{"part": "words", "provider": "a", "outcome": "failed", "count": 1}]},
        {"failures": [{"part": "llm", "provider": "a", "outcome": PLANTED, "count": 1}]},
    ],
)
def test_what_no_counter_may_be_given_is_no_event(wrong: dict[str, object]) -> None:
    measured = Measured.model_construct(at=NOW).model_dump(by_alias=True, mode="json")
    with pytest.raises(ValueError, match="validation error"):
        parse_pod_event(json.dumps({**measured, **wrong}))
