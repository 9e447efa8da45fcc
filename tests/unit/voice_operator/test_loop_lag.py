"""Time-outs that do not count the loop's own lateness."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from testing.waiting import eventually
from voice_operator.loop_lag import LoopLag


@pytest.fixture
async def lag() -> AsyncIterator[LoopLag]:
    """Measures this test's loop."""
    made = LoopLag()
    made.start()
    yield made
    made.stop()


async def test_whoever_does_not_answer_is_waited_for_no_longer_than_meant(lag: LoopLag) -> None:
    with pytest.raises(TimeoutError):
        async with lag.patience(0.05):
            await asyncio.Event().wait()


async def test_what_is_done_in_time_is_not_ended(lag: LoopLag) -> None:
    async with lag.patience(0.05):
        pass
    await eventually(lambda: True)


async def test_a_loop_that_was_held_up_waits_for_so_much_longer(lag: LoopLag) -> None:
    answered = asyncio.Event()
    async with lag.patience(0.3):
        time.sleep(1)  # noqa: ASYNC251, TID251 - the loop is held up for longer than anybody would be waited for
        asyncio.get_running_loop().call_later(0.2, answered.set)
        await answered.wait()
    assert lag.seconds > 0.5


async def test_a_loop_that_is_late_all_the_time_still_gives_up(lag: LoopLag) -> None:
    async def hold_up() -> None:
        while True:
            time.sleep(0.1)  # noqa: ASYNC251, TID251 - the lateness
            await asyncio.sleep(0)  # noqa: TID251 - late, all the time

    task = asyncio.create_task(hold_up())
    with pytest.raises(TimeoutError):
        async with lag.patience(0.05):
            await asyncio.Event().wait()
    task.cancel()
