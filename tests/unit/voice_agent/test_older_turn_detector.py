"""The turn-detector plugin is its successor's, however it is imported, and whether it is installed or not."""

import importlib
import sys
from collections.abc import Iterator

import pytest
from livekit.agents import AgentSession, inference, llm
from livekit.agents.language import LanguageCode

from voice_agent import older_turn_detector


@pytest.fixture(autouse=True)
def _installed() -> Iterator[None]:
    older_turn_detector.install()
    yield
    for name in [name for name in sys.modules if name.startswith("livekit.plugins.turn_detector")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    "program",
    [
        "from livekit.plugins.turn_detector.multilingual import MultilingualModel as Model",
        "from livekit.plugins.turn_detector.english import EnglishModel as Model",
        "from livekit.plugins import silero, turn_detector; Model = turn_detector.english.EnglishModel",
        "import livekit.plugins.turn_detector.multilingual as plugin; Model = plugin.MultilingualModel",
    ],
)
async def test_each_way_to_import_it(program: str) -> None:
    found: dict[str, type[inference.TurnDetector]] = {}
    exec(program, found)  # noqa: S102 - as code of a team would
    session: AgentSession[None] = AgentSession(turn_detection=found["Model"]())
    assert isinstance(session.turn_detection, inference.TurnDetector)
    assert session.turn_detection.model == "turn-detector-v1-mini"


def test_the_other_model_s_threshold_is_left_out() -> None:
    plugin = importlib.import_module("livekit.plugins.turn_detector.multilingual")
    assert plugin.MultilingualModel(unlikely_threshold=0.01).describe_options() == (
        inference.TurnDetector(version="v1-mini").describe_options()
    )


async def test_code_that_wraps_the_model_ends_each_turn() -> None:
    model = older_turn_detector.MultilingualModel()
    english = LanguageCode("en")
    assert await model.supports_language(english)
    threshold = await model.unlikely_threshold(english)
    assert threshold is not None
    assert await model.predict_end_of_turn(llm.ChatContext.empty(), timeout=3) >= threshold
