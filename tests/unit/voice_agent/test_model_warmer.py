"""Chat models are kept awake while a pod waits, where their provider says so."""

import pytest

from testing.waiting import eventually, let_others_run
from voice_agent import model_warmer
from voice_agent.model_warmer import ModelWarmer
from voicesession.models import LlmModel, Provider

COLD = Provider(name="cold", llm=LlmModel(model="l"))
WARM = Provider(name="warm", llm=LlmModel(model="l"), warm_up=True)


async def test_a_model_is_asked_again_and_again_until_a_call_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_warmer, "AGAIN_SECONDS", 0.0)
    asked: list[str] = []

    async def ask(provider: Provider) -> None:
        asked.append(provider.name)
        if len(asked) == 1:
            raise OSError("the server is still away")

    warmer = ModelWarmer([COLD, WARM], ask)
    warmer.start()
    await eventually(lambda: len(asked) >= 3)
    warmer.stop()
    await let_others_run()
    known = list(asked)
    await let_others_run()
    assert asked == known
    assert set(asked) == {"warm"}
