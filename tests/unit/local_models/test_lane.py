"""The bounded queue before a model."""

import asyncio
import threading

import pytest

from local_models.lane import Lane, QueueFullError
from testing.waiting import let_others_run


def lane(*, concurrency: int = 1, queue_limit: int = 1, timeout_seconds: float = 30.0) -> Lane:
    return Lane("test", concurrency=concurrency, queue_limit=queue_limit, timeout_seconds=timeout_seconds)


async def test_what_the_work_returns_or_raises_comes_back() -> None:
    tested = lane()
    assert await tested.run(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        await tested.run(lambda: 1 // 0)
    assert (tested.busy, tested.waiting) == (0, 0)
    tested.close()


async def test_over_the_limit_is_refused_and_the_queue_is_visible() -> None:
    tested, gate = lane(), threading.Event()
    running = [asyncio.create_task(tested.run(gate.wait)) for _ in range(2)]
    await let_others_run()
    assert (tested.busy, tested.waiting) == (1, 1)
    with pytest.raises(QueueFullError):
        await tested.run(gate.wait)
    admitted = asyncio.create_task(tested.run(gate.wait, admitted=True))
    await let_others_run()
    assert tested.waiting == 2
    gate.set()
    await asyncio.gather(*running, admitted)
    assert (tested.busy, tested.waiting) == (0, 0)
    tested.close()


async def test_no_more_run_at_once_than_allowed() -> None:
    tested, together, most, lock = lane(concurrency=2, queue_limit=10), 0, 0, threading.Lock()
    pair = threading.Barrier(2)

    def work() -> None:
        nonlocal together, most
        with lock:
            together += 1
            most = max(most, together)
        pair.wait(timeout=10)
        with lock:
            together -= 1

    await asyncio.gather(*(tested.run(work) for _ in range(6)))
    assert most == 2
    tested.close()


async def test_a_wait_has_an_end() -> None:
    tested, gate = lane(timeout_seconds=0.05), threading.Event()
    running = asyncio.create_task(tested.run(gate.wait))
    await let_others_run()
    with pytest.raises(QueueFullError):
        await tested.run(gate.wait)
    gate.set()
    await running
    assert tested.waiting == 0
    tested.close()


async def test_a_caller_who_leaves_frees_his_place_and_running_work_keeps_its_slot() -> None:
    tested, gate = lane(), threading.Event()
    running = asyncio.create_task(tested.run(gate.wait))
    waiting = asyncio.create_task(tested.run(gate.wait))
    await let_others_run()
    waiting.cancel()
    running.cancel()
    await asyncio.gather(running, waiting, return_exceptions=True)
    assert (tested.busy, tested.waiting) == (1, 0)
    gate.set()
    assert await tested.run(lambda: "next") == "next"
    assert tested.busy == 0
    tested.close()


async def test_seconds_are_reported() -> None:
    tested, waits, works = lane(), list[float](), list[float]()
    tested.on_wait, tested.on_work = waits.append, works.append
    await tested.run(lambda: None)
    assert len(waits) == len(works) == 1
    tested.close()
