"""A model that has failed in a call is passed over in the pool's next ones, for a while."""

from datetime import timedelta

from testing.operator_objects import NOW
from voice_operator.pods.failing_models import PASS_OVER, FailingModels
from voicesession.assignment import FailingModel, ModelFailed

WALL = NOW + timedelta(days=1)
CHAT = FailingModel(provider="first", part="llm")


def note(failing: FailingModels, pool: str = "default", age: float = 0.0, part: str = "llm") -> None:
    event = ModelFailed.model_validate({"at": WALL - timedelta(seconds=age), "provider": "first", "part": part})
    failing.note(pool, event, NOW, WALL)


def test_a_failure_is_the_pools_for_a_while() -> None:
    failing = FailingModels()
    note(failing)
    assert failing.list_failing("default", NOW) == [CHAT]
    assert failing.list_failing("other", NOW) == []
    assert failing.list_failing("default", NOW + PASS_OVER) == []


def test_what_is_told_again_by_an_old_call_is_as_old_as_it_is() -> None:
    failing = FailingModels()
    note(failing, age=100)
    assert failing.list_failing("default", NOW + timedelta(seconds=19)) == [CHAT]
    assert failing.list_failing("default", NOW + timedelta(seconds=21)) == []
    note(failing, age=1000, part="tts")
    assert failing.list_failing("default", NOW) == [CHAT]


def test_a_pods_clock_that_is_ahead_adds_nothing() -> None:
    failing = FailingModels()
    note(failing, age=-60)
    assert failing.list_failing("default", NOW + PASS_OVER) == []
