"""The models of a pool's providers: what a call is served by, made in a moment once it is there."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from livekit import local_inference
from livekit.agents import NOT_GIVEN, APIConnectOptions, llm, stt, tts, vad
from livekit.plugins import openai

from voice_agent.fallback import Choice, Choices, FallbackLLM, FallbackSTT, FallbackTTS, Health, Model
from voice_agent.model_clients import ModelClients, read_url
from voice_agent.sample_rate import ResamplingTTS
from voicesession.models import ANY_LANGUAGE, ModelChoices, Provider, Timeouts
from voicesession.provider_keys import Part, is_openai, list_servers

# A customer waits for no fourth try of a model.
PATIENCE = APIConnectOptions(max_retry=2, retry_interval=0.5, timeout=15.0)
# OpenAI's own clients read the first address, its older ones and many frameworks the second.
_EXPORTED = frozenset({"OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_API_BASE"})
# Where another provider is behind one: together with its own answer, the customer waits less than six seconds.
FIRST_WORD_SECONDS: dict[Part, float] = {"stt": 4.0, "llm": 3.0, "tts": 3.0}
# A server that loads a model says nothing meanwhile; the deadline is the caller's.
_LOADING = Timeouts(read_seconds=300)


class ProviderError(Exception):
    """A call asks for a provider that this pod's pool does not have; the message names those it has."""


@dataclass(frozen=True)
class CallModels:
    """What serves one call: speech-to-text, chat and text-to-speech, or one realtime model in `llm`."""

    stt: stt.STT[Any] | None
    llm: llm.LLM[Any] | llm.RealtimeModel | None
    tts: tts.TTS[Any] | None

    @property
    def is_realtime(self) -> bool:
        """Whether one model hears and speaks by itself."""
        return isinstance(self.llm, llm.RealtimeModel)


class ModelShelf:
    """The providers of this pod's pool, and the models that they have."""

    def __init__(self, providers: Sequence[Provider], clients: ModelClients) -> None:
        """`clients` asks the servers of these providers."""
        self._providers = {provider.name: provider for provider in providers}
        self._clients = clients
        # Set by the pool for its code: no key is to go to the other's address.
        self._exports = _EXPORTED.isdisjoint(os.environ)
        self.health = Health()
        self.vad: vad.VAD | None = None

    def warm_up(self, vad_kind: str) -> None:
        """Does now what would cost a call its first moments: clients, their modules, the voice activity detector."""
        for provider in self._providers.values():
            for part, server in list_servers(provider):
                client = self._clients.build(provider, part, server)
                # Each of these imports its part of the client library at the first look.
                _ = (client.chat.completions, client.audio.speech, client.audio.transcriptions)
            if provider.realtime is not None:
                _ = openai.realtime.RealtimeModel
        if vad_kind == "silero":
            self.vad = _load_silero()
        else:
            local_inference.init_vad()

    def provider(self, name: str) -> Provider:
        """Returns the provider of this name; for no name one without models, where the pool's code brings its own.

        Raises:
            ProviderError: the pool has none such.
        """
        if not name and not self._providers:
            return Provider(name="")
        if name not in self._providers:
            known = ", ".join(self._providers) or "none"
            raise ProviderError(f"this pod's pool has no provider {name!r}; it has: {known}")
        return self._providers[name]

    def default_provider(self) -> Provider | None:
        """Returns the pool's first provider, if it has any."""
        return next(iter(self._providers.values()), None)

    def name_provider(self, host: str, model: str, first: Provider) -> str:
        """Returns which provider's a model is, by the host that its client names; of several alike `first`'s.

        The host itself where it is none's: the agent's code has made the model by itself.
        """
        models = [
            (provider.name, each.model)
            for provider in (first, *self._providers.values())
            for each in (provider.stt, provider.llm, provider.tts, provider.realtime)
            if each is not None and urlsplit(read_url(each)).netloc == host
        ]
        return next((name for name, its in models if its == model), models[0][0] if models else host)

    @property
    def is_hearing(self) -> bool:
        """Whether a transcription is on its way."""
        return self._clients.is_hearing

    @property
    def decodes_speech(self) -> bool:
        """Whether speech comes in a format that has to be decoded."""
        return any(
            provider.tts is not None and provider.tts.response_format not in {None, "pcm"}
            for provider in self._providers.values()
        )

    async def speak(self, provider: Provider, choices: ModelChoices, text: str) -> bytes:
        """Returns the text in the provider's voice: 24 kHz mono 16-bit samples. No agent session hears of a failure.

        Raises:
            ProviderError: it has none.
            APIError: its server fails.
        """
        voice = self.build_tts(provider, choices)
        if voice is None:
            raise ProviderError(f"provider {provider.name!r} has no text-to-speech")
        return bytes((await voice.synthesize(text).collect()).data)

    async def ask_one_word(self, provider: Provider) -> None:
        """Asks the provider's chat model for one word, and waits for it for as long as it takes.

        Raises:
            openai.OpenAIError: the server cannot be reached, or refuses.
        """
        if provider.llm is None:
            return
        patient = provider.llm.model_copy(update={"timeouts": _LOADING})
        client = self._clients.build(provider, "llm", patient)
        question: Any = {"role": "user", "content": "Say one word."}
        await client.chat.completions.create(model=patient.model, messages=[question])

    def build_models(self, provider: Provider, choices: ModelChoices, language: str) -> CallModels:
        """Returns the models of one call, with the profile's choices in place of the provider's own."""
        if provider.realtime is not None:
            return CallModels(stt=None, llm=self._build_realtime(provider, choices), tts=None)
        ears = self._choose("stt", provider, choices, lambda whose, which: self._build_stt(whose, which, language))
        chats = self._choose("llm", provider, choices, self._build_llm)
        voices = self._choose("tts", provider, choices, self.build_tts)
        # One that streams hears by a connection of its own: there is no question that another could be asked.
        streams = any(model.capabilities.streaming for model in ears.all)
        return CallModels(
            stt=FallbackSTT(ears) if len(ears.all) > 1 and not streams else next(iter(ears.all), None),
            llm=FallbackLLM(chats) if len(chats.all) > 1 else next(iter(chats.all), None),
            tts=FallbackTTS(voices) if len(voices.all) > 1 else next(iter(voices.all), None),
        )

    def _choose(
        self,
        part: Part,
        provider: Provider,
        choices: ModelChoices,
        build: Callable[[Provider, ModelChoices], Model | None],
    ) -> Choices[Model]:
        """Returns the provider's model for this part, and the one behind it, of which the profile chooses nothing."""
        asked = [(provider, choices)]
        if second := self._find_fallback(provider, part):
            asked.append((second, ModelChoices()))
        models = [(each, build(each, its_choices)) for each, its_choices in asked]
        return Choices(
            part,
            [Choice(each.name, model, first_word_seconds(each, part)) for each, model in models if model is not None],
            self.health,
        )

    def _find_fallback(self, provider: Provider, part: Part) -> Provider | None:
        server = dict(list_servers(provider)).get(part)
        name = (server.fallback if server else None) or provider.fallback
        second = self._providers.get(name) if name else None
        return second if second is not provider else None

    def build_tts(self, provider: Provider, choices: ModelChoices) -> tts.TTS[Any] | None:
        """Returns the provider's text-to-speech, or None when it has none."""
        server = provider.tts
        if server is None:
            return None
        options: dict[str, Any] = {
            "model": choices.tts or server.model,
            "voice": choices.voice or server.voice,
            "speed": server.speed or 1.0,
            "response_format": server.response_format or "pcm",
            "client": self._clients.build(provider, "tts", server),
        }
        return ResamplingTTS(server.sample_rate, **options) if server.sample_rate else openai.TTS(**options)

    def export(self, provider: Provider) -> None:
        """Gives the provider to code that makes its own models, as the variables that OpenAI's clients read.

        They have room for one server: the chat model's, or the realtime one's. Where the
        pool's own environment has one of them, all are left as they are.
        """
        server = provider.llm or provider.realtime
        if server is None or not self._exports:
            return
        os.environ["OPENAI_API_KEY"] = self._clients.read_key(provider, server, "llm" if provider.llm else None)
        if server.base_url:
            os.environ["OPENAI_BASE_URL"] = os.environ["OPENAI_API_BASE"] = server.base_url
        else:
            os.environ.pop("OPENAI_BASE_URL", None)
            os.environ.pop("OPENAI_API_BASE", None)

    def _build_stt(self, provider: Provider, choices: ModelChoices, language: str) -> stt.STT[Any] | None:
        server = provider.stt
        if server is None:
            return None
        return openai.STT(
            model=choices.stt or server.model,
            language=language,
            detect_language=language == ANY_LANGUAGE,
            client=self._clients.build(provider, "stt", server),
        )

    def _build_llm(self, provider: Provider, choices: ModelChoices) -> llm.LLM[Any] | None:
        server = provider.llm
        if server is None:
            return None
        return openai.LLM(
            model=choices.llm or server.model,
            temperature=NOT_GIVEN if server.temperature is None else server.temperature,
            _strict_tool_schema=is_openai(server) if server.strict_tools is None else server.strict_tools,
            client=self._clients.build(provider, "llm", server),
        )

    def _build_realtime(self, provider: Provider, choices: ModelChoices) -> llm.RealtimeModel:
        part = provider.realtime
        if part is None:
            raise ProviderError(f"provider {provider.name!r} has no realtime model")
        return openai.realtime.RealtimeModel(
            model=choices.realtime or part.model,
            voice=choices.voice or part.voice,
            base_url=read_url(part),
            api_key=self._clients.read_key(provider, part),
            conn_options=PATIENCE,
        )


def first_word_seconds(provider: Provider, part: Part) -> float:
    """Returns how long this part's first word may take, where there is another one to ask."""
    server = dict(list_servers(provider)).get(part)
    timeouts = server.timeouts if server else None
    return (timeouts.read_seconds if timeouts else None) or FIRST_WORD_SECONDS[part]


def _load_silero() -> vad.VAD:
    # Imported only where a pool asks for it: 45 MB.
    from livekit.plugins import silero  # noqa: PLC0415

    loaded: Any = silero.VAD.load()
    return loaded  # type: ignore[no-any-return]
