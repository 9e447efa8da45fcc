"""The models of a pool's providers: clients built while the pod waits, models of a call made from them at once."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from livekit import local_inference
from livekit.agents import NOT_GIVEN, APIConnectOptions, llm, stt, tts, vad
from livekit.plugins import openai
from openai import AsyncClient

from voicesession.models import ModelChoices, Provider

# Local servers want no key, and the client library wants some.
NO_KEY = "none"
# A customer waits for no fourth try of a model.
PATIENCE = APIConnectOptions(max_retry=2, retry_interval=0.5, timeout=15.0)
_OPENAI = "https://api.openai.com/v1"


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
    """The providers of this pod's pool, and their clients."""

    def __init__(
        self, providers: Sequence[Provider], keys_folder: Path, on_secret: Callable[[str], None] = lambda _: None
    ) -> None:
        """`on_secret` is told every key that is read, so that logs can hide it."""
        self._providers = {provider.name: provider for provider in providers}
        self._keys_folder = keys_folder
        self._on_secret = on_secret
        self._http: httpx2.AsyncClient | None = None
        self._clients: dict[tuple[str, str], AsyncClient] = {}
        self.vad: vad.VAD | None = None

    def warm_up(self, vad_kind: str) -> None:
        """Does now what would cost a call its first moments: clients, their modules, the voice activity detector."""
        for provider in self._providers.values():
            for part in (provider.stt, provider.llm, provider.tts):
                if part is not None:
                    client = self._client(provider, part.base_url)
                    # Each of these imports its part of the client library at the first look.
                    _ = (client.chat.completions, client.audio.speech, client.audio.transcriptions)
            if provider.realtime is not None:
                _ = openai.realtime.RealtimeModel
        if vad_kind == "silero":
            self.vad = _load_silero()
        else:
            local_inference.init_vad()

    def provider(self, name: str) -> Provider:
        """Returns the provider of this name.

        Raises:
            ProviderError: the pool has none such.
        """
        if name not in self._providers:
            known = ", ".join(self._providers) or "none"
            raise ProviderError(f"this pod's pool has no provider {name!r}; it has: {known}")
        return self._providers[name]

    def default_provider(self) -> Provider | None:
        """Returns the pool's first provider, if it has any."""
        return next(iter(self._providers.values()), None)

    def build_models(self, provider: Provider, choices: ModelChoices, language: str) -> CallModels:
        """Returns the models of one call, with the profile's choices in place of the provider's own."""
        if provider.realtime is not None:
            return CallModels(stt=None, llm=self._build_realtime(provider, choices), tts=None)
        return CallModels(
            stt=self._build_stt(provider, choices, language),
            llm=self._build_llm(provider, choices),
            tts=self.build_tts(provider, choices),
        )

    def build_tts(self, provider: Provider, choices: ModelChoices) -> tts.TTS[Any] | None:
        """Returns the provider's text-to-speech, or None when it has none."""
        part = provider.tts
        if part is None:
            return None
        return openai.TTS(
            model=choices.tts or part.model,
            voice=choices.voice or part.voice,
            speed=part.speed or 1.0,
            response_format="pcm",
            client=self._client(provider, part.base_url),
        )

    def export(self, provider: Provider) -> None:
        """Gives the provider to code that makes its own models, as the variables that OpenAI's clients read."""
        part = provider.llm or provider.realtime or provider.tts or provider.stt
        os.environ["OPENAI_API_KEY"] = self.read_key(provider)
        if part is not None and part.base_url:
            os.environ["OPENAI_BASE_URL"] = part.base_url
        else:
            os.environ.pop("OPENAI_BASE_URL", None)

    def read_key(self, provider: Provider) -> str:
        """Returns the provider's key as it is now, or a stand-in when it has none."""
        try:
            key = (self._keys_folder / provider.name / "api-key").read_text().strip()
        except OSError:
            return NO_KEY
        if key:
            self._on_secret(key)
        return key or NO_KEY

    def _build_stt(self, provider: Provider, choices: ModelChoices, language: str) -> stt.STT[Any] | None:
        part = provider.stt
        if part is None:
            return None
        return openai.STT(
            model=choices.stt or part.model, language=language, client=self._client(provider, part.base_url)
        )

    def _build_llm(self, provider: Provider, choices: ModelChoices) -> llm.LLM[Any] | None:
        part = provider.llm
        if part is None:
            return None
        return openai.LLM(
            model=choices.llm or part.model,
            temperature=NOT_GIVEN if part.temperature is None else part.temperature,
            client=self._client(provider, part.base_url),
        )

    def _build_realtime(self, provider: Provider, choices: ModelChoices) -> llm.RealtimeModel:
        part = provider.realtime
        if part is None:
            raise ProviderError(f"provider {provider.name!r} has no realtime model")
        return openai.realtime.RealtimeModel(
            model=choices.realtime or part.model,
            voice=choices.voice or part.voice,
            base_url=part.base_url or _OPENAI,
            api_key=self.read_key(provider),
            conn_options=PATIENCE,
        )

    def _client(self, provider: Provider, base_url: str | None) -> AsyncClient:
        """Returns the client for one server of a provider; its key is read anew, as Secrets change meanwhile."""
        key = self.read_key(provider)
        place = (provider.name, base_url or _OPENAI)
        client = self._clients.get(place)
        if client is None:
            client = self._clients[place] = AsyncClient(
                api_key=key, base_url=base_url or _OPENAI, max_retries=0, http_client=self._http_client()
            )
        client.api_key = key
        return client

    def _http_client(self) -> httpx2.AsyncClient:
        # One for all: each has an SSL context of its own, 40 ms and 1 MB. The models set time-outs per request.
        if self._http is None:
            self._http = httpx2.AsyncClient(
                timeout=httpx2.Timeout(30.0, connect=5.0),
                follow_redirects=True,
                limits=httpx2.Limits(max_connections=50, max_keepalive_connections=50, keepalive_expiry=120),
            )
        return self._http


def _load_silero() -> vad.VAD:
    # Imported only where a pool asks for it: 45 MB.
    from livekit.plugins import silero  # noqa: PLC0415

    loaded: Any = silero.VAD.load()
    return loaded  # type: ignore[no-any-return]
