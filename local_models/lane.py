"""A lane: so many pieces of work of one kind at once, a bounded queue before them, and both to be seen."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
Observer = Callable[[float], Any]


class QueueFullError(Exception):
    """The lane takes no more work now."""


class Lane:
    """Runs blocking work in threads, at most `concurrency` at once, first come, first served.

    `waiting` and `busy` tell how many pieces of work wait and run; `on_wait` and `on_work` are called with seconds.
    """

    def __init__(self, name: str, *, concurrency: int, queue_limit: int, timeout_seconds: float) -> None:
        self.name = name
        self.waiting = 0
        self.busy = 0
        self.on_wait: Observer = lambda _: None
        self.on_work: Observer = lambda _: None
        self._queue_limit = queue_limit
        self._timeout_seconds = timeout_seconds
        self._slots = asyncio.Semaphore(concurrency)
        self._threads = ThreadPoolExecutor(max_workers=concurrency, thread_name_prefix=name)

    async def run(self, work: Callable[[], T], *, admitted: bool = False) -> T:
        """Returns what `work` returns.

        `admitted`: the work continues a request that has been let in, so the limit does not apply.
        When the caller is cancelled, work that has begun is finished (a thread cannot be stopped) and keeps its slot.

        Raises:
            QueueFullError: the queue is full, or the wait took longer than the lane's time-out.
        """
        if not admitted and self._slots.locked() and self.waiting >= self._queue_limit:
            raise QueueFullError(f"{self.waiting} requests are waiting")
        await self._wait_for_slot()
        self.busy += 1
        future = asyncio.get_running_loop().run_in_executor(self._threads, self._timed, work)
        future.add_done_callback(self._release)
        return await asyncio.shield(future)

    def close(self) -> None:
        """Lets the threads end once their work is done."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _wait_for_slot(self) -> None:
        began = time.perf_counter()
        self.waiting += 1
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._slots.acquire()
        except TimeoutError:
            raise QueueFullError(f"no turn within {self._timeout_seconds:g} s") from None
        finally:
            self.waiting -= 1
        self.on_wait(time.perf_counter() - began)

    def _timed(self, work: Callable[[], T]) -> T:
        began = time.perf_counter()
        try:
            return work()
        finally:
            self.on_work(time.perf_counter() - began)

    def _release(self, future: "asyncio.Future[T]") -> None:
        self.busy -= 1
        self._slots.release()
        if not future.cancelled():
            future.exception()  # Retrieved, else asyncio would log it when nobody waits any more.
