"""A profile in livekit-agents' terms."""

from livekit.agents import inference

from voice_agent.profile_agent import build_spoken_key, build_turn_handling
from voicesession.models import AgentProfileSpec, ModelChoices, Provider, TtsModel, TurnTaking

PROVIDER = Provider(name="fake", tts=TtsModel(model="speech", voice="alloy"))


def test_turn_taking_by_silence() -> None:
    turns = TurnTaking(min_endpointing_millis=700, max_endpointing_millis=2500, min_interruption_millis=400)
    handling = build_turn_handling(turns)
    assert handling["turn_detection"] == "vad"
    assert handling["endpointing"] == {"mode": "dynamic", "min_delay": 0.7, "max_delay": 2.5}
    assert handling["interruption"] == {"enabled": True, "mode": "vad", "min_duration": 0.4}


def test_turn_taking_with_the_model_is_asked_for() -> None:
    turns = TurnTaking(detection="turn-detector", dynamic_endpointing=False, allow_interruptions=False)
    handling = build_turn_handling(turns)
    assert isinstance(handling["turn_detection"], inference.TurnDetector)
    assert handling["endpointing"]["mode"] == "fixed"
    assert handling["interruption"]["enabled"] is False


def test_a_realtime_model_takes_its_own_turns() -> None:
    assert build_turn_handling(TurnTaking(), is_realtime=True)["turn_detection"] == "realtime_llm"


def test_a_prepared_text_belongs_to_a_voice() -> None:
    key = build_spoken_key("Hello.", PROVIDER, AgentProfileSpec())
    assert key is not None
    assert (key.provider, key.voice, key.text) == ("fake", "alloy", "Hello.")
    chosen = build_spoken_key("Hello.", PROVIDER, AgentProfileSpec(models=ModelChoices(voice="nova")))
    assert chosen is not None
    assert chosen.voice == "nova"


def test_another_model_speaks_live() -> None:
    assert build_spoken_key("Hello.", PROVIDER, AgentProfileSpec(models=ModelChoices(tts="other"))) is None
    assert build_spoken_key("Hello.", Provider(name="mute"), AgentProfileSpec()) is None
