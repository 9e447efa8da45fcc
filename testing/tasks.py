"""Tasks that somebody owns: held while they run, and ended together."""

import asyncio
from collections.abc import Coroutine
from typing import Any


class Tasks:
    """What one helper has running beside it."""

    def __init__(self) -> None:
        """Has none at first."""
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def cancel(self) -> None:
        """Ends all of them, but for the one that asks."""
        tasks = self._tasks - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
