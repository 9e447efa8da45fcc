"""Models with a second one behind them: where the first fails, or says nothing, the second answers in the same turn.

livekit-agents' FallbackAdapters do that too, and are not used: docs/decisions says why.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from livekit import rtc
from livekit.agents import (
    DEFAULT_API_CONNECT_OPTIONS,
    NOT_GIVEN,
    APIConnectOptions,
    APIError,
    APITimeoutError,
    NotGivenOr,
    llm,
    stt,
    tts,
    utils,
)

from voicesession.provider_keys import Part

# Who has failed is asked again after this, by a customer's turn: it costs that turn as long as the failure takes.
PASS_OVER_SECONDS = 120.0
# Whoever fails is not tried again: the next one is.
_ONE_TRY = APIConnectOptions(max_retry=0)
# What was asked is at fault, not who was.
_REQUESTS_FAULT = {400, 413, 422}

log = logging.getLogger(__name__)

Model = TypeVar("Model", llm.LLM[Any], stt.STT[Any], tts.TTS[Any])
Answer = TypeVar("Answer")


class Health:
    """Which models have failed lately: by name of the provider, and part."""

    def __init__(self) -> None:
        self.on_failure: Callable[[str, Part], None] = lambda _provider, _part: None  # the first in a while
        self.on_each_failure: Callable[[str, Part], None] = lambda _provider, _part: None
        self._passed_over: dict[tuple[str, Part], float] = {}  # until when

    def pass_over(self, provider: str, part: Part) -> None:
        """Has this model asked last for a while: it has failed, here or elsewhere."""
        self._passed_over[provider, part] = time.monotonic() + PASS_OVER_SECONDS

    def is_passed_over(self, provider: str, part: Part) -> bool:
        """Tells whether it has failed lately."""
        return time.monotonic() < self._passed_over.get((provider, part), 0.0)

    def note(self, provider: str, part: Part, error: Exception) -> None:
        """Takes in that a model has failed; of the first time in a while it is told."""
        log.warning("a model failed, and has another one behind it", extra={"provider": provider, "error": error})
        self.on_each_failure(provider, part)
        if getattr(error, "status_code", None) in _REQUESTS_FAULT:
            return
        is_new = not self.is_passed_over(provider, part)
        self.pass_over(provider, part)
        if is_new:
            self.on_failure(provider, part)


@dataclass(frozen=True)
class Choice(Generic[Model]):
    """A model, the provider whose it is, and how long its first word may take, in seconds, where another is behind."""

    provider: str
    model: Model
    first_word_seconds: float


class Choices(Generic[Model]):
    """The models that may serve one part of a call, the best first."""

    def __init__(self, part: Part, choices: Sequence[Choice[Model]], health: Health) -> None:
        self._part = part
        self._choices: Sequence[Choice[Model]] = choices
        self._health = health

    @property
    def next(self) -> Model:
        """Returns the model that is asked first now."""
        return self._in_order()[0].model

    @property
    def all(self) -> list[Model]:
        """Returns all of them."""
        return [choice.model for choice in self._choices]

    def forward_metrics(self, to: rtc.EventEmitter[Any]) -> None:
        """Has `to` tell what these models measure as its own."""
        for model in self.all:
            model.on("metrics_collected", lambda metrics: to.emit("metrics_collected", metrics))

    async def serve(
        self,
        ask: Callable[[Model, asyncio.Timeout], Awaitable[Answer]],
        has_spoken: Callable[[], bool] = lambda: False,
    ) -> Answer:
        """Returns what `ask` gets from the first model that does not fail, each tried once.

        `ask` takes away the deadline that it is given when the first word is there. `has_spoken`: a part of the answer
        has been passed on, so that no other model can give it.

        Raises:
            APIError: what the best one has failed by, after all have.
        """
        failures: dict[str, APIError] = {}
        order = self._in_order()
        for choice in order:
            try:
                seconds = None if choice is order[-1] else choice.first_word_seconds
                async with asyncio.timeout(seconds) as deadline:
                    return await ask(choice.model, deadline)
            except (APIError, TimeoutError) as error:
                failure = error if isinstance(error, APIError) else APITimeoutError()
            self._health.note(choice.provider, self._part, failure)
            if has_spoken():
                failure.retryable = False
                raise failure
            failures[choice.provider] = failure
        raise failures[self._choices[0].provider]

    def _in_order(self) -> list[Choice[Model]]:
        return sorted(self._choices, key=lambda choice: self._health.is_passed_over(choice.provider, self._part))


class _Several:
    """What the adapters have in common: they are known by the model that is asked first."""

    choices: Choices[Any]

    @property
    def model(self) -> str:
        """Returns the name of the model that is asked first now."""
        return str(self.choices.next.model)

    @property
    def provider(self) -> str:
        """Returns the host of the model that is asked first now."""
        return str(self.choices.next.provider)

    async def aclose(self) -> None:
        """Closes all of them."""
        for model in self.choices.all:
            await model.aclose()


class FallbackLLM(_Several, llm.LLM[Any]):
    """A chat model with others behind it."""

    def __init__(self, choices: Choices[llm.LLM[Any]]) -> None:
        """`choices`: at least one."""
        super().__init__()
        self.choices = choices
        choices.forward_metrics(self)

    def chat(
        self,
        *,
        chat_ctx: llm.ChatContext,
        tools: list[llm.Tool] | None = None,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
        **options: Any,
    ) -> llm.LLMStream:
        """Returns the answer of the first model that gives one. `options`: as of the models' own `chat`."""
        return _FallbackLLMStream(self, chat_ctx, tools or [], conn_options, options)

    def prewarm(self, *, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Connects to the model that is asked first."""
        self.choices.next.prewarm(loop=loop)


class _FallbackLLMStream(llm.LLMStream):
    # The models' own streams have the spans of their requests.
    _llm_request_span_name = "llm_fallback"
    _llm_attempt_span_name = None
    _genai_operation_name = None

    def __init__(
        self,
        model: FallbackLLM,
        chat_ctx: llm.ChatContext,
        tools: list[llm.Tool],
        conn_options: APIConnectOptions,
        options: dict[str, Any],
    ) -> None:
        super().__init__(model, chat_ctx=chat_ctx, tools=tools, conn_options=conn_options)
        self._choices = model.choices
        self._options = options

    async def _run(self) -> None:
        await self._choices.serve(self._ask, lambda: self._event_ch.output_sent)

    async def _ask(self, model: llm.LLM[Any], deadline: asyncio.Timeout) -> None:
        asked = model.chat(chat_ctx=self._chat_ctx, tools=self._tools, conn_options=_ONE_TRY, **self._options)
        async with asked as stream:
            async for chunk in stream:
                if chunk.has_response():
                    deadline.reschedule(None)
                self._event_ch.send_nowait(chunk)

    async def _metrics_monitor_task(self, event_aiter: AsyncIterable[llm.ChatChunk]) -> None:
        async for _ in event_aiter:
            pass


class FallbackTTS(_Several, tts.TTS[Any]):
    """A voice with others behind it, all of one sample rate."""

    def __init__(self, choices: Choices[tts.TTS[Any]]) -> None:
        """`choices`: at least one, none of which streams."""
        first = choices.all[0]
        super().__init__(
            capabilities=tts.TTSCapabilities(streaming=False),
            sample_rate=first.sample_rate,
            num_channels=first.num_channels,
        )
        self.choices = choices
        choices.forward_metrics(self)

    def synthesize(
        self, text: str, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS
    ) -> tts.ChunkedStream:
        """Returns the speech of the first model that gives any."""
        return _FallbackSpeech(self, text, conn_options)

    def prewarm(self) -> None:
        """Connects to the model that is asked first."""
        self.choices.next.prewarm()


class _FallbackSpeech(tts.ChunkedStream):
    _tts_request_span_name = "tts_fallback"
    _tts_attempt_span_name = None

    def __init__(self, model: FallbackTTS, text: str, conn_options: APIConnectOptions) -> None:
        super().__init__(tts=model, input_text=text, conn_options=conn_options)
        self._choices = model.choices
        self._has_spoken = False

    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        output_emitter.initialize(
            request_id=utils.shortuuid(),
            sample_rate=self._tts.sample_rate,
            num_channels=self._tts.num_channels,
            mime_type="audio/pcm",
        )

        async def ask(model: tts.TTS[Any], deadline: asyncio.Timeout) -> None:
            async with model.synthesize(self.input_text, conn_options=_ONE_TRY) as stream:
                async for audio in stream:
                    deadline.reschedule(None)
                    self._has_spoken = True
                    output_emitter.push_frame(audio.frame)

        await self._choices.serve(ask, lambda: self._has_spoken)

    async def _metrics_monitor_task(self, event_aiter: AsyncIterable[tts.SynthesizedAudio]) -> None:
        async for _ in event_aiter:
            pass


class FallbackSTT(_Several, stt.STT[Any]):
    """A speech-to-text model with others behind it."""

    def __init__(self, choices: Choices[stt.STT[Any]]) -> None:
        """`choices`: at least one, none of which streams."""
        super().__init__(capabilities=stt.STTCapabilities(streaming=False, interim_results=False))
        self._recognize_metrics_needed = False  # the models' own are passed on
        self.choices = choices
        choices.forward_metrics(self)

    async def _recognize_impl(
        self,
        buffer: utils.AudioBuffer,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions,
    ) -> stt.SpeechEvent:
        async def ask(model: stt.STT[Any], _: asyncio.Timeout) -> stt.SpeechEvent:
            return await model.recognize(buffer, language=language, conn_options=_ONE_TRY)

        return await self.choices.serve(ask)
