"""Work that is done a while after the request that brought it up, while the service runs."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)


class Later:
    """What is still to be done. It is lost when the service ends, so somebody else has to make good for it."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, key: str, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        """Does `work` in so many seconds, and only that of what was asked for under this key and is still to be done.

        What it raises is logged.
        """
        if before := self._tasks.get(key):
            before.cancel()
        task = self._tasks[key] = asyncio.create_task(_wait_and_do(seconds, work), name=f"later: {key}")
        task.add_done_callback(lambda done: self._forget(key, done))

    async def close(self) -> None:
        """Does nothing more."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget(self, key: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(key) is task:
            del self._tasks[key]


async def _wait_and_do(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    await asyncio.sleep(seconds)
    try:
        await work()
    except Exception:
        log.exception("what was put off has failed")
