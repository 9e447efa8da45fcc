"""What stands in for LiveKit Inference: which model it is, and what is kept of what the code asked for."""

from pathlib import Path
from typing import Any

import pytest
from livekit.agents import NOT_GIVEN, Agent, AgentSession, evals, inference, llm, stt, tts
from livekit.plugins import openai

from voice_agent import livekit_inference
from voice_agent.livekit_inference import Asked, StandIn, decide_choices, knows_voice, read_asked
from voice_agent.model_clients import ModelClients
from voice_agent.provider_models import ModelShelf, ProviderError
from voicesession.models import (
    AgentProfileSpec,
    LlmModel,
    ModelChoices,
    Provider,
    RealtimeModel,
    SttModel,
    TtsModel,
)

ELSEWHERE = "http://models.test/v1"
PROVIDER = Provider(
    name="house",
    stt=SttModel(base_url=ELSEWHERE, model="whisper"),
    llm=LlmModel(base_url=ELSEWHERE, model="chat"),
    tts=TtsModel(base_url=ELSEWHERE, model="sonic-3", voice="clara"),
)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> StandIn:
    """One that answers for LiveKit Inference while the test runs."""
    monkeypatch.setattr(livekit_inference, "_current", None)
    made = StandIn(ModelShelf([PROVIDER], ModelClients(tmp_path)))
    made.install()
    return made


@pytest.mark.parametrize(
    ("part", "arguments", "options", "asked"),
    [
        ("stt", ("deepgram/nova-3",), {}, Asked("stt", "deepgram/nova-3")),
        ("stt", ("deepgram/nova-3:de",), {}, Asked("stt", "deepgram/nova-3", "de")),
        ("stt", (), {"model": "deepgram/nova-3:de", "language": "fr"}, Asked("stt", "deepgram/nova-3", "fr")),
        ("stt", (), {"language": NOT_GIVEN}, Asked("stt", "")),
        ("tts", ("cartesia/sonic-3:clara",), {"language": "de"}, Asked("tts", "cartesia/sonic-3", "clara")),
        ("tts", (), {"model": "rime/arcana", "voice": "luna"}, Asked("tts", "rime/arcana", "luna")),
        ("llm", ("openai/gpt-oss-120b:free",), {}, Asked("llm", "openai/gpt-oss-120b:free")),
    ],
)
def test_what_is_asked_for(
    part: livekit_inference.Part, arguments: tuple[str, ...], options: dict[str, object], asked: Asked
) -> None:
    assert read_asked(part, arguments, options) == asked


@pytest.mark.parametrize(("variant", "language"), [("de", "de"), ("multi", "auto"), ("", "it")])
def test_the_code_s_language_is_heard_else_the_profile_s(variant: str, language: str) -> None:
    profile = AgentProfileSpec(language="it")
    assert decide_choices(Asked("stt", "deepgram/nova-3", variant), PROVIDER, profile)[1] == language


@pytest.mark.parametrize(
    ("model", "provider", "known"),
    [
        ("cartesia/sonic-3", PROVIDER, True),
        ("cartesia/sonic-2", PROVIDER, False),
        ("openai/gpt-4o-mini-tts", PROVIDER, False),
        ("openai/tts-1", Provider(name="openai", tts=TtsModel(model="gpt-4o-mini-tts")), True),
        ("cartesia/sonic-3", Provider(name="deaf and mute"), False),
    ],
)
def test_whose_voices_a_provider_has(model: str, provider: Provider, known: bool) -> None:
    assert knows_voice(model, provider) is known


def test_a_voice_is_kept_where_the_provider_has_it() -> None:
    profile = AgentProfileSpec(models=ModelChoices(voice="anna"))
    assert decide_choices(Asked("tts", "cartesia/sonic-3", "carl"), PROVIDER, profile)[0].voice == "carl"
    assert decide_choices(Asked("tts", "rime/arcana", "luna"), PROVIDER, profile)[0].voice == "anna"


@pytest.mark.usefixtures("stand_in")
def test_each_class_and_string_makes_the_provider_s_model() -> None:
    heard = inference.STT("deepgram/nova-3:de")
    assert isinstance(heard, openai.STT)
    assert (heard.model, heard._opts.languages) == ("whisper", ["de"])
    said = inference.TTS.from_model_string("cartesia/sonic-3:carl")
    assert isinstance(said, openai.TTS)
    assert (said.model, said._opts.voice) == ("sonic-3", "carl")
    thought = inference.llm_from_model_string("openai/gpt-4.1-mini")
    assert isinstance(thought, openai.LLM)
    assert thought.model == "chat"


@pytest.mark.usefixtures("stand_in")
async def test_whoever_makes_them() -> None:
    strings: dict[str, Any] = {"stt": "deepgram/nova-3", "llm": "openai/gpt-4.1-mini", "tts": "cartesia/sonic-3"}
    agent = Agent(instructions="x", **strings)
    changed = Agent(instructions="x")
    changed.update_options(**strings)
    session: AgentSession[None] = AgentSession(turn_handling={"turn_detection": "vad"}, **strings)
    for made in (agent, changed, session):
        assert (type(made.stt), type(made.llm), type(made.tts)) == (openai.STT, openai.LLM, openai.TTS)
    assert isinstance(evals.JudgeGroup(llm="openai/gpt-4o-mini", judges=[]).llm, openai.LLM)


@pytest.mark.usefixtures("stand_in")
def test_fallback_adapters_take_them() -> None:
    llm.FallbackAdapter([inference.LLM("openai/gpt-4.1-mini"), inference.LLM("google/gemini-2.5-flash")])
    tts.FallbackAdapter([inference.TTS("cartesia/sonic-3"), inference.TTS("inworld/inworld-tts-1")])
    models: list[stt.STT[Any]] = [inference.STT("deepgram/nova-3"), inference.STT("assemblyai/universal")]
    assert stt.FallbackAdapter(models).capabilities.streaming
    stt.FallbackAdapter(stt=models, vad=inference.VAD())


async def test_they_hear_a_stream_as_the_gateway_s_do(stand_in: StandIn) -> None:
    heard = stand_in.build(Asked("stt", "deepgram/nova-3"))
    async with heard.stream(language="de") as stream:
        stream.end_input()
        assert [event async for event in stream] == []


def test_options_that_change_later_are_obeyed_as_far_as_they_can(
    stand_in: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    heard, said = stand_in.build(Asked("stt", "deepgram/nova-3")), stand_in.build(Asked("tts", "rime/arcana"))
    thought = stand_in.build(Asked("llm", "openai/gpt-4.1-mini"))
    heard.update_options(language="multi")
    assert heard._opts.detect_language
    heard.update_options(language="fr", model="deepgram/nova-2")
    assert (heard.model, heard._opts.languages) == ("whisper", ["fr"])
    said.update_options(model="cartesia/sonic-3", voice="carl", language="fr")
    assert (said.model, said._opts.voice) == ("sonic-3", "carl")
    with caplog.at_level("INFO"):
        said.update_options(voice="luna")
        thought.update_options(model="openai/gpt-5", extra_kwargs={"temperature": 2})
    assert (said._opts.voice, thought.model) == ("carl", "chat")
    assert caplog.text.count("are left out") == 2


def test_the_call_s_provider_and_profile_take_over(stand_in: StandIn) -> None:
    stand_in.serve(
        PROVIDER.model_copy(update={"llm": LlmModel(model="other")}),
        AgentProfileSpec(models=ModelChoices(llm="chosen")),
    )
    assert inference.LLM("openai/gpt-4.1-mini").model == "chosen"


def test_what_serves_is_told_once(stand_in: StandIn, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        for _ in range(2):
            inference.LLM("openai/gpt-4.1-mini")
    (told,) = [record for record in caplog.records if "LiveKit Inference" in record.message]
    assert vars(told) | {"part": "llm", "asked": "openai/gpt-4.1-mini", "provider": "house", "model": "chat"} == vars(
        told
    )


def test_a_provider_that_has_no_such_model(tmp_path: Path) -> None:
    realtime = Provider(name="fast", realtime=RealtimeModel(model="gpt-realtime"))
    stand_in = StandIn(
        ModelShelf([realtime, Provider(name="mute", llm=LlmModel(model="chat"))], ModelClients(tmp_path))
    )
    for part in ("stt", "llm", "tts"):
        with pytest.raises(
            ProviderError, match=r"provider 'fast' has no .* model, which .* asks .* for as 'any/model'"
        ):
            stand_in.build(Asked(part, "any/model"))
    with pytest.raises(ProviderError, match="give its pool a provider"):
        StandIn(ModelShelf([], ModelClients(tmp_path))).build(Asked("llm", "any/model"))


def test_a_pool_may_leave_them_to_livekit(monkeypatch: pytest.MonkeyPatch, stand_in: StandIn) -> None:
    monkeypatch.setattr(livekit_inference, "_current", None)
    for name in ("LIVEKIT_API_KEY", "LIVEKIT_INFERENCE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match="api_key is required"):
        inference.LLM("openai/gpt-4.1-mini")
    made = inference.LLM("openai/gpt-4.1-mini", api_key="key", api_secret="a secret of thirty-two characters")
    assert type(made) is inference.LLM
    stand_in.install()

    class Theirs(inference.LLM):
        pass

    assert Theirs("x/y", api_key="key", api_secret="a secret of thirty-two characters").model == "x/y"


@pytest.mark.usefixtures("stand_in")
def test_a_turn_detector_of_the_cloud_runs_in_the_pod() -> None:
    assert inference.TurnDetector(version="v1").model == "turn-detector-v1-mini"
