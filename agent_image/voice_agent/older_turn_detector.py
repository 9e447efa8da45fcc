"""Serves what code asks of LiveKit's turn-detector plugin by that plugin's successor, which runs in the pod.

The plugin (`livekit.plugins.turn_detector`) is deprecated in favour of `inference.TurnDetector`, and its models want a
process beside the call's, which a pod does not have. So its modules are ours here, whether it is installed or not.
"""

import logging
import sys
from types import ModuleType
from typing import Any

from livekit.agents import inference, llm

_PLUGIN = "livekit.plugins.turn_detector"

log = logging.getLogger(__name__)


class MultilingualModel(inference.TurnDetector):
    """The plugin's model of this name; its successor knows the same languages, and hears instead of reading."""

    def __init__(self, **options: Any) -> None:
        """Takes what the plugin's takes. Thresholds are left out: they mean another model's probabilities."""
        log.info(
            "LiveKit's newer turn detector serves what is asked of the turn-detector plugin",
            extra={"asked": type(self).__name__, "left_out": sorted(options)},
        )
        super().__init__(version="v1-mini")

    async def predict_end_of_turn(self, _chat: llm.ChatContext, *, timeout: float | None = None) -> float:
        """Returns 1.0, the plugin's own word for "not known": only code that wraps the model asks so."""
        return 1.0


class EnglishModel(MultilingualModel):
    """The plugin's model of this name."""


def install() -> None:
    """Has imports of the plugin find what is here. Call before the agent's code is loaded."""
    english = _make(f"{_PLUGIN}.english", EnglishModel=EnglishModel)
    multilingual = _make(f"{_PLUGIN}.multilingual", MultilingualModel=MultilingualModel)
    # A package, by its path.
    _make(_PLUGIN, english=english, multilingual=multilingual, __path__=[])


def _make(name: str, **contents: object) -> ModuleType:
    module = ModuleType(name, __doc__)
    vars(module).update(contents)
    sys.modules[name] = module
    return module
