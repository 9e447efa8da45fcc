"""The queue of keys: one worker a key, again after errors, once for many additions."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from testing.waiting import eventually, stays
from testing.written_log import written_log
from voice_operator.pods.client import PodRequestError
from voice_operator.work_queue import Lane, WorkQueue


@asynccontextmanager
async def running(
    handle: Callable[[str], Awaitable[None]], backoff: float = 0.01, max_backoff: float = 0.05, **options: Any
) -> AsyncIterator[WorkQueue[str]]:
    queue: WorkQueue[str] = WorkQueue(
        handle, lanes={None: Lane(workers=4, backoff=backoff, max_backoff=max_backoff)}, **options
    )
    queue.start()
    try:
        yield queue
    finally:
        await queue.stop()


async def test_what_is_logged_while_a_key_is_handled_names_it() -> None:
    log, begun, both = logging.getLogger("voice_operator"), set(), asyncio.Event()

    async def handle(key: str) -> None:
        begun.add(key)
        if begun == {"good", "bad"}:
            both.set()
        await both.wait()
        log.info("handled")
        if key == "bad":
            raise PodRequestError("no answer")

    with written_log("voice_operator") as written:
        async with running(handle, log_fields=lambda key: {"session": key}) as queue:
            queue.add("good")
            queue.add("bad")
            await eventually(lambda: "reconciling failed" in written.text)
        log.info("at rest")
    assert {(line["message"], line.get("session"), line.get("error")) for line in written.lines} == {
        ("handled", "good", None),
        ("handled", "bad", None),
        ("reconciling failed", "bad", "PodRequestError: no answer"),
        ("at rest", None, None),
    }


async def test_additions_before_a_key_is_handled_are_one() -> None:
    handled: list[str] = []

    async def handle(key: str) -> None:
        handled.append(key)

    async with running(handle) as queue:
        for _ in range(5):
            queue.add("a")
        await eventually(lambda: handled)
        await stays(lambda: handled == ["a"], 0.02, "it was handled once more")


async def test_a_key_is_never_handled_twice_at_a_time_and_not_forgotten_meanwhile() -> None:
    gate, busy, most, done = asyncio.Event(), 0, 0, 0

    async def handle(_key: str) -> None:
        nonlocal busy, most, done
        busy += 1
        most = max(most, busy)
        await gate.wait()
        busy -= 1
        done += 1

    async with running(handle) as queue:
        queue.add("a")
        await eventually(lambda: busy == 1)
        queue.add("a")
        queue.add("a")
        await stays(lambda: busy == 1, 0.02, "it was handled twice at a time")
        gate.set()
        await eventually(lambda: done == 2)
        await stays(lambda: (most, done) == (1, 2), 0.02, "both additions were handled")


async def test_other_keys_do_not_wait_for_a_slow_one() -> None:
    handled: list[str] = []

    async def handle(key: str) -> None:
        if key == "slow":
            await asyncio.Event().wait()
        handled.append(key)

    async with running(handle) as queue:
        queue.add("slow")
        queue.add("quick")
        await eventually(lambda: handled == ["quick"])


async def test_an_error_is_retried_until_it_succeeds() -> None:
    tries = 0

    async def handle(_key: str) -> None:
        nonlocal tries
        tries += 1
        if tries < 4:
            raise ValueError("not yet")

    async with running(handle) as queue:
        queue.add("a")
        await eventually(lambda: tries == 4)
        await stays(lambda: tries == 4, 0.1, "it was tried again after it had succeeded")


async def test_the_earliest_of_several_delays_counts() -> None:
    handled: list[str] = []

    async def handle(key: str) -> None:
        handled.append(key)

    async with running(handle) as queue:
        queue.add_after("a", 60)
        queue.add_after("a", 0.01)
        queue.add_after("a", 60)
        await eventually(lambda: handled == ["a"])


async def test_an_addition_makes_its_delay_superfluous() -> None:
    handled: list[str] = []

    async def handle(key: str) -> None:
        handled.append(key)

    async with running(handle) as queue:
        queue.add_after("a", 0.05)
        queue.add("a")
        await eventually(lambda: handled)
        await stays(lambda: handled == ["a"], 0.15, "the delay was handled as well")


async def test_stopping_ends_what_is_being_handled() -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def handle(_key: str) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with running(handle) as queue:
        queue.add("a")
        await eventually(began.is_set)
    assert ended.is_set()


@pytest.mark.parametrize("seconds", [1e-6, 0.0004, 0.0006])
def test_delays_of_less_than_a_millisecond_work_in_the_loop_that_the_operator_runs_in(seconds: float) -> None:
    handled: list[str] = []

    async def handle(key: str) -> None:
        handled.append(key)

    async def add_twice() -> None:
        async with running(handle) as queue:
            queue.add_after("a", seconds)
            queue.add_after("a", 30)
            await eventually(lambda: handled == ["a"])

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(add_twice())


async def test_a_paused_queue_takes_no_key_and_loses_none() -> None:
    handled: list[str] = []

    async def handle(key: str) -> None:
        handled.append(key)

    async with running(handle) as queue:
        queue.pause()
        queue.add("a")
        queue.add_after("b", 0.01)
        await stays(lambda: not handled, 0.1, "a key was taken")
        queue.resume()
        await eventually(lambda: sorted(handled) == ["a", "b"])


async def test_a_drained_queue_has_ended_what_it_was_at_or_waits_no_longer() -> None:
    begun, gate, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def handle(_key: str) -> None:
        begun.set()
        await gate.wait()
        ended.set()

    async with running(handle) as queue:
        await queue.drain(5)
        queue.resume()
        queue.add("a")
        await begun.wait()
        await queue.drain(0.01)
        assert not ended.is_set()
        gate.set()
        await queue.drain(5)
        assert ended.is_set()


async def test_it_tells_for_how_long_no_key_could_be_taken() -> None:
    gate = asyncio.Event()

    async def handle(_key: str) -> None:
        await gate.wait()

    async with running(handle) as queue:
        for number in range(4):
            queue.add(f"holds a worker {number}")
        await eventually(lambda: queue.stuck_seconds == 0)
        queue.add("waits")
        await eventually(lambda: queue.stuck_seconds > 0.05)
        queue.pause()
        assert queue.stuck_seconds == 0
        queue.resume()
        gate.set()
        await eventually(lambda: queue.stuck_seconds == 0)


async def test_a_lane_whose_workers_all_wait_holds_up_no_other() -> None:
    handled: list[str] = []

    async def handle(key: str) -> None:
        if key.startswith("hangs"):
            await asyncio.Event().wait()
        handled.append(key)

    lanes = {True: Lane(workers=2), False: Lane(workers=1)}
    queue: WorkQueue[str] = WorkQueue(handle, lanes=lanes, lane_of=lambda key: key.startswith("hangs"))
    queue.start()
    for number in range(5):
        queue.add(f"hangs {number}")
    queue.add("quick")
    await eventually(lambda: handled == ["quick"])
    await queue.stop()


async def test_what_takes_longer_than_its_lane_has_is_ended_and_tried_again() -> None:
    tries = 0

    async def handle(_key: str) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            await asyncio.Event().wait()

    queue: WorkQueue[str] = WorkQueue(handle, lanes={None: Lane(workers=1, seconds=0.05, backoff=0.01)})
    queue.start()
    queue.add("hangs")
    queue.add("other")
    await eventually(lambda: tries == 3)
    await queue.stop()


async def test_a_key_that_failed_can_be_left_to_its_back_off() -> None:
    tries: list[str] = []

    async def handle(key: str) -> None:
        tries.append(key)
        raise ValueError("always")

    async with running(handle, backoff=60, max_backoff=60) as queue:
        queue.add_unless_failed("a")
        await eventually(lambda: tries == ["a"])
        queue.add_unless_failed("a")
        await stays(lambda: tries == ["a"], 0.05, "its back-off was cut short")
        queue.add("a")
        await eventually(lambda: tries == ["a", "a"])
