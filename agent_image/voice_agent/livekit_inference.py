"""Serves what code asks of LiveKit Inference, LiveKit Cloud's gateway to models, by the call's own provider.

`stt="deepgram/nova-3"`, `inference.LLM("openai/gpt-4.1-mini")` and the like make the models that a profile would get,
whoever makes them: an agent session, an agent, a fallback adapter, a judge. livekit-agents (1.8.9, contract-tested)
makes all of them of the classes that are taken hold of here.
"""

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from livekit.agents import inference, stt

from voice_agent.provider_models import ModelShelf, ProviderError
from voicesession.models import ANY_LANGUAGE, AgentProfileSpec, ModelChoices, Provider

Part = Literal["stt", "llm", "tts"]
_WORDS: Mapping[Part, str] = {"stt": "speech-to-text", "llm": "chat", "tts": "text-to-speech"}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asked:
    """One model of the gateway's. `variant`: a speech-to-text's language, a text-to-speech's voice; empty: none."""

    part: Part
    model: str
    variant: str = ""


class StandIn:
    """Makes the models of the call's provider in place of the gateway's; of the pool's first one before the call."""

    def __init__(self, shelf: ModelShelf) -> None:
        """`shelf`: the pool's models."""
        self._shelf = shelf
        self._provider = shelf.default_provider()
        self._profile = AgentProfileSpec()
        self._told: set[Asked] = set()

    def install(self) -> None:
        """Answers for LiveKit Inference in this process from now on. Call before the agent's code is loaded."""
        global _current  # noqa: PLW0603 - whoever makes a model has no other way to it
        _take_hold()
        _current = self

    def serve(self, provider: Provider, profile: AgentProfileSpec) -> None:
        """Makes models of this provider from now on, with the profile's choices among its models."""
        self._provider, self._profile = provider, profile

    def build(self, asked: Asked) -> Any:
        """Returns the provider's model for this part.

        Raises:
            ProviderError: it has none.
        """
        provider = self._provider
        if provider is None:
            raise ProviderError(
                f"the agent's code asks LiveKit Inference for {asked.model!r}; give its pool a provider that serves it "
                "instead, or set the pool's `inference: LiveKit`"
            )
        choices, language = decide_choices(asked, provider, self._profile)
        models = self._shelf.build_models(provider, choices, language)
        found = getattr(models, asked.part)
        if found is None or models.is_realtime:
            raise ProviderError(
                f"provider {provider.name!r} has no {_WORDS[asked.part]} model, which the agent's code asks LiveKit "
                f"Inference for as {asked.model!r}"
            )
        found.update_options = functools.partial(_update, asked, provider, getattr(found, "update_options", None))
        if isinstance(found, stt.STT) and not found.capabilities.streaming:
            found.stream = functools.partial(_stream, found)  # type: ignore[method-assign]
        self._tell(asked, provider, getattr(found, "model", ""))
        return found

    def _tell(self, asked: Asked, provider: Provider, model: str) -> None:
        if asked not in self._told:
            self._told.add(asked)
            served = {"part": asked.part, "asked": asked.model or "auto", "provider": provider.name, "model": model}
            log.info("the call's provider serves what is asked of LiveKit Inference", extra=served)


def read_asked(part: Part, arguments: Sequence[Any], options: Mapping[str, Any]) -> Asked:
    """Returns what a class of `livekit.agents.inference` is called with. A model's name may end with its variant."""
    given = arguments[0] if arguments else options.get("model")
    model = given if isinstance(given, str) else ""
    if part == "llm":
        return Asked(part, model)
    model, _, variant = model.partition(":")
    named = options.get("language" if part == "stt" else "voice")
    return Asked(part, model, named if isinstance(named, str) else variant)


def decide_choices(asked: Asked, provider: Provider, profile: AgentProfileSpec) -> tuple[ModelChoices, str]:
    """Returns the choices among the provider's models, and the language to hear: the code's where they can be kept."""
    choices, language = profile.models, profile.language
    if asked.part == "stt" and asked.variant:
        language = read_language(asked.variant)
    if asked.part == "tts" and asked.variant and knows_voice(asked.model, provider):
        choices = choices.model_copy(update={"voice": asked.variant})
    return choices, language


def read_language(text: str) -> str:
    """Returns a language as profiles name it; "multi" is Deepgram's word for any."""
    return ANY_LANGUAGE if text == "multi" else text


def knows_voice(model: str, provider: Provider) -> bool:
    """Tells whether the provider has the voices of this model of the gateway's, by its model or its vendor."""
    part = provider.tts
    if part is None:
        return False
    vendor, _, name = model.rpartition("/")
    return name == part.model.rpartition("/")[2] or (vendor == "openai" and part.base_url is None)


_current: StandIn | None = None


def _update(asked: Asked, provider: Provider, update: Callable[..., None] | None, **options: Any) -> None:
    """Obeys `update_options` of a gateway's model as far as the one that stands for it can."""
    changed = read_asked(asked.part, (), {"model": asked.model, **options})
    if asked.part == "stt" and changed.variant and update:
        language = read_language(changed.variant)
        update(**({"detect_language": True} if language == ANY_LANGUAGE else {"language": language}))
    elif asked.part == "tts" and changed.variant and knows_voice(changed.model, provider) and update:
        update(voice=changed.variant)
    else:
        log.info("options of a LiveKit Inference model are left out", extra={"part": asked.part, "options": [*options]})


def _stream(found: stt.STT[Any], **options: Any) -> stt.RecognizeStream:
    """Hears a stream as the gateway's models do, sentence by sentence."""
    return stt.StreamAdapter(stt=found, vad=inference.VAD()).stream(**options)


@functools.cache
def _take_hold() -> None:
    """Has the gateway's classes ask for a stand-in whenever one of them is made. Once: it cannot be undone."""
    _stand_in_for(inference.STT, "stt")
    _stand_in_for(inference.LLM, "llm")
    _stand_in_for(inference.TTS, "tts")
    _keep_turn_detector_here()
    _tell_fallbacks_where_speech_ends()


def _stand_in_for(original: type[Any], part: Part) -> None:
    def make(cls: type[Any], *arguments: Any, **options: Any) -> Any:
        # A class that code has derived is its own, and talks to the gateway.
        if _current is None or cls is not original:
            return object.__new__(cls)
        return _current.build(read_asked(part, arguments, options))

    original.__new__ = make  # type: ignore[assignment]


def _keep_turn_detector_here() -> None:
    begin = inference.TurnDetector.__init__

    @functools.wraps(begin)
    def begin_here(self: inference.TurnDetector, **options: Any) -> None:
        if _current is not None and options.get("version") == "v1":
            log.info("the turn detector v1 needs LiveKit Cloud; v1-mini runs in the pod instead")
            options["version"] = "v1-mini"
        begin(self, **options)

    inference.TurnDetector.__init__ = begin_here  # type: ignore[method-assign]


def _tell_fallbacks_where_speech_ends() -> None:
    begin = stt.FallbackAdapter.__init__

    @functools.wraps(begin)
    def begin_here(self: stt.FallbackAdapter, *arguments: Any, **options: Any) -> None:
        # Without one it takes only models that stream. The gateway's do; those that stand for them may not.
        if _current is not None and options.get("vad") is None:
            options["vad"] = inference.VAD()
        begin(self, *arguments, **options)

    stt.FallbackAdapter.__init__ = begin_here  # type: ignore[method-assign]
