"""How late this process's event loop is, and time-outs that do not count its lateness against others."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

_TICK_SECONDS = 0.05
# Less is no lateness: timers are that coarse.
_GRAIN_SECONDS = 0.01
# However late the loop is, nobody is waited for longer than so many times as long as meant.
_MOST_TIMES = 10


class LoopLag:
    """Measures the running event loop from `start` to `stop`."""

    def __init__(self) -> None:
        self._measured = 0.0
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def seconds(self) -> float:
        """Returns for how long the loop did not get to what was due, in all."""
        return self._measured + (self._late() if self._timer else 0.0)

    def start(self) -> None:
        """Begins to measure."""
        self._due = time.monotonic() + _TICK_SECONDS
        self._timer = asyncio.get_running_loop().call_later(_TICK_SECONDS, self._tick)

    def stop(self) -> None:
        """Measures no more."""
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._measured += self._late()
        self.start()

    def _late(self) -> float:
        late = time.monotonic() - self._due
        return late if late > _GRAIN_SECONDS else 0.0

    @contextlib.asynccontextmanager
    async def patience(self, seconds: float) -> AsyncIterator[None]:
        """Ends what is in it after `seconds` in which the loop was there to see what came.

        Raises:
            TimeoutError: the time is over.
        """
        loop, begun, granted = asyncio.get_running_loop(), self.seconds, 0.0
        timer: asyncio.TimerHandle | None = None
        async with asyncio.timeout(None) as timeout:

            def look() -> None:
                nonlocal timer, granted
                late = min(self.seconds - begun, (_MOST_TIMES - 1) * seconds) - granted
                if late > _GRAIN_SECONDS:
                    granted += late
                    timer = loop.call_later(late, look)
                else:
                    timeout.reschedule(loop.time())

            timer = loop.call_later(seconds, look)
            try:
                yield
            finally:
                timer.cancel()
