"""What time there is for the steps of an end."""

import asyncio

import pytest

from testing.waiting import let_others_run
from voice_agent import haste
from voice_agent.farewell import (
    CLOSE_SECONDS,
    DISCONNECT_SECONDS,
    ENTRYPOINT_SECONDS,
    FLUSH_SECONDS,
    GOODBYE_SECONDS,
)
from voice_agent.haste import Haste
from voice_agent.pod import LAST_LINE_SECONDS
from voice_agent.worker_options import SESSION_END_SECONDS
from voice_operator.pods.agent_pod import GRACE_SECONDS
from voicesession.models import EffectiveLimits

# What comes before the writing of the end, in order.
STEPS = [
    GOODBYE_SECONDS,
    EffectiveLimits().finish_seconds,
    ENTRYPOINT_SECONDS,
    CLOSE_SECONDS,
    SESSION_END_SECONDS,
    SESSION_END_SECONDS,
    DISCONNECT_SECONDS,
]


class Clock:
    """Seconds that pass when somebody waits."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def test_without_haste_each_step_has_its_time() -> None:
    assert [Haste().time_for(seconds) for seconds in (*STEPS, FLUSH_SECONDS)] == [*STEPS, FLUSH_SECONDS]


@pytest.mark.parametrize("hung", range(len(STEPS) + 1))
def test_an_end_of_hung_steps_is_written_before_the_pod_is_killed(hung: int) -> None:
    clock = Clock()
    hurry = Haste(clock)
    hurry.begin()
    for seconds in STEPS[len(STEPS) - hung :]:
        clock.seconds += hurry.time_for(seconds)
    writing = hurry.time_for(FLUSH_SECONDS, kept=0)
    assert writing >= 1.5
    clock.seconds += writing
    clock.seconds += hurry.time_for(CLOSE_SECONDS) + LAST_LINE_SECONDS
    assert clock.seconds - 1000.0 < GRACE_SECONDS


def test_the_first_haste_holds() -> None:
    clock = Clock()
    hurry = Haste(clock)
    hurry.begin()
    clock.seconds += 5
    left = hurry.time_for(FLUSH_SECONDS)
    hurry.begin()
    assert hurry.time_for(FLUSH_SECONDS) == left


async def test_a_step_that_runs_already_is_hastened(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(haste, "SHUTDOWN_SECONDS", 0.0)
    hurry = Haste()
    step = asyncio.create_task(hurry.within(3600, asyncio.Event().wait(), "waiting"))
    await let_others_run()
    hurry.begin()
    async with asyncio.timeout(20):
        await step
    assert "a step took too long and was given up" in caplog.text


async def test_a_step_that_fails_is_told_and_the_next_one_runs(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise ValueError

    done = asyncio.Event()

    async def succeed() -> None:
        done.set()

    hurry = Haste()
    await hurry.within(5, fail(), "failing")
    await hurry.within(5, succeed(), "succeeding")
    assert done.is_set()
    assert "a step failed" in caplog.text
