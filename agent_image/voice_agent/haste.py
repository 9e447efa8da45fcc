"""How long the steps of a call's end may take: less once Kubernetes is about to kill the pod."""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable

# Kubernetes kills a pod 15 s after it told it to stop. The rest is for a database that does not let go, and for the
# reader of the last event.
SHUTDOWN_SECONDS = 12.0
# Kept of them: for the writing of the end, and for the moment that each later step gets even so.
_KEPT_SECONDS = 3.0
_LEAST_SECONDS = 0.2

log = logging.getLogger(__name__)


class Haste:
    """The time that is left. One step at a time runs `within` it."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """Starts without haste; `now` tells seconds."""
        self.begun = asyncio.Event()
        self._now = now
        self._leave_by = math.inf
        self._step: asyncio.Timeout | None = None

    def begin(self) -> None:
        """From now on there are `SHUTDOWN_SECONDS`, also for a step that runs already. The first call holds."""
        if self.begun.is_set():
            return
        self._leave_by = self._now() + SHUTDOWN_SECONDS
        self.begun.set()
        if self._step is not None and not self._step.expired():
            latest = asyncio.get_running_loop().time() + self.time_for(math.inf)
            self._step.reschedule(min(self._step.when() or math.inf, latest))

    def time_for(self, seconds: float, kept: float = _KEPT_SECONDS) -> float:
        """Returns how many of the `seconds` that a step may take otherwise it may take now, `kept` left to others."""
        return max(_LEAST_SECONDS, min(seconds, self._leave_by - self._now() - kept))

    async def within(self, seconds: float, work: Awaitable[object], what: str) -> bool:
        """As the function below, in the time that is left."""
        self._step = asyncio.timeout(self.time_for(seconds))
        try:
            return await within(self._step, work, what)
        finally:
            self._step = None


async def within(timeout: asyncio.Timeout, work: Awaitable[object], what: str) -> bool:
    """Awaits `work` until then at the latest; what goes wrong with it is logged, and life goes on.

    Returns whether it came to its end, be that a failure.
    """
    try:
        async with timeout:
            await work
    except TimeoutError:
        if timeout.expired():
            log.warning("a step took too long and was given up", extra={"step": what})
            return False
        log.exception("a step failed", extra={"step": what})
    except Exception:
        log.exception("a step failed", extra={"step": what})
    return True
