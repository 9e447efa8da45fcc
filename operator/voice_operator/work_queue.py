"""A queue of keys: each is handled by one worker at a time, again after an error, and once for many additions.

It has lanes, so that what waits for one of our peers holds up nothing that does not need that one.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from voice_telemetry.logs import log_context

K = TypeVar("K", bound=Hashable)
log = logging.getLogger(__name__)

# uvloop counts in milliseconds, and for none of them returns a handle that knows no time.
_SHORTEST_SECONDS = 0.001


@dataclass(frozen=True, slots=True)
class Lane:
    """How keys of one sort are handled: by so many workers, each time for so many seconds at most.

    `backoff`: seconds before a failed key is handled again, doubling up to `max_backoff`.
    """

    workers: int = 64
    seconds: float = 30.0
    backoff: float = 0.1
    max_backoff: float = 5.0


class _Line(Generic[K]):
    """The keys of one lane that wait for a worker."""

    def __init__(self) -> None:
        self.ready: asyncio.Queue[K] = asyncio.Queue()
        self.moved_at = time.monotonic()


class WorkQueue(Generic[K]):
    """Hands keys to `handle`. A key added while it is handled is handled once more afterwards.

    A raised exception is logged and the key retried after its lane's back-off, each time with jitter; so is what takes
    longer than its lane's time. A success forgets the failures. Whoever handles a key decides when there is nothing
    more to do for it.
    """

    def __init__(
        self,
        handle: Callable[[K], Awaitable[None]],
        *,
        lanes: Mapping[Any, Lane] | None = None,
        lane_of: Callable[[K], Hashable] = lambda _key: None,
        on_error: Callable[[K], None] = lambda _key: None,
        log_fields: Callable[[K], Mapping[str, object]] = lambda _key: {},
    ) -> None:
        """`lanes`: by what `lane_of` says of a key; without them there is one. `log_fields`: while a key is handled."""
        self._handle = handle
        self._lanes: Mapping[Any, Lane] = lanes or {None: Lane()}
        self._lines: dict[Hashable, _Line[K]] = {name: _Line() for name in self._lanes}
        self._lane_of = lane_of
        self._on_error = on_error
        self._log_fields = log_fields
        self._queued: set[K] = set()
        self._running: set[K] = set()
        self._again: set[K] = set()
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._open = asyncio.Event()
        self._open.set()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def stuck_seconds(self) -> float:
        """Returns for how long no key of a lane has been taken though one is ready; 0 where none is, and in a pause."""
        if not self._open.is_set():
            return 0.0
        now = time.monotonic()
        return max((now - line.moved_at for line in self._lines.values() if not line.ready.empty()), default=0.0)

    @property
    def depths(self) -> dict[Hashable, int]:
        """Returns how many keys wait in each lane."""
        return {name: line.ready.qsize() for name, line in self._lines.items()}

    def start(self) -> None:
        """Starts the workers in the running event loop."""
        self._tasks = [
            asyncio.create_task(self._work(lane, self._lines[name]), name=f"queue-{name}-{number}")
            for name, lane in self._lanes.items()
            for number in range(lane.workers)
        ]

    def pause(self) -> None:
        """Has no key taken until `resume`. What is being handled goes on, and keys may be added."""
        self._open.clear()

    def resume(self) -> None:
        """Has keys taken again."""
        for line in self._lines.values():
            line.moved_at = time.monotonic()
        self._open.set()

    async def drain(self, seconds: float) -> None:
        """Pauses, and returns when nothing is being handled any more, or after `seconds`."""
        self.pause()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()

    async def stop(self) -> None:
        """Ends the workers, in the middle of what they do."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def add(self, key: K) -> None:
        """Has `key` handled as soon as a worker is free."""
        self._cancel_timer(key)
        if key in self._running:
            self._again.add(key)
        elif key not in self._queued:
            line = self._lines[self._lane_of(key)]
            if line.ready.empty():
                line.moved_at = time.monotonic()
            self._queued.add(key)
            line.ready.put_nowait(key)

    def add_unless_failed(self, key: K) -> None:
        """Has `key` handled as soon as a worker is free; where its last handling failed, when its back-off is over."""
        if key not in self._failures or key not in self._timers:
            self.add(key)

    def add_after(self, key: K, seconds: float) -> None:
        """Has `key` handled in `seconds`, or earlier if it is added or due earlier."""
        if seconds <= 0:
            self.add(key)
            return
        seconds = max(seconds, _SHORTEST_SECONDS)
        due = asyncio.get_running_loop().time() + seconds
        timer = self._timers.get(key)
        if timer and timer.when() <= due:
            return
        self._cancel_timer(key)
        self._timers[key] = asyncio.get_running_loop().call_later(seconds, self._fire, key)

    def _fire(self, key: K) -> None:
        del self._timers[key]
        self.add(key)

    def _cancel_timer(self, key: K) -> None:
        timer = self._timers.pop(key, None)
        if timer:
            timer.cancel()

    async def _work(self, lane: Lane, line: _Line[K]) -> None:
        while True:
            key = await line.ready.get()
            await self._open.wait()
            line.moved_at = time.monotonic()
            self._queued.discard(key)
            self._running.add(key)
            self._idle.clear()
            try:
                with log_context(**self._log_fields(key)):
                    await self._handle_or_retry(key, lane)
            finally:
                self._running.discard(key)
                if not self._running:
                    self._idle.set()
            if key in self._again:
                self._again.discard(key)
                self.add(key)

    async def _handle_or_retry(self, key: K, lane: Lane) -> None:
        try:
            async with asyncio.timeout(lane.seconds):
                await self._handle(key)
        except Exception as error:
            self._retry(key, lane, error)
        else:
            self._failures.pop(key, None)

    def _retry(self, key: K, lane: Lane, error: Exception) -> None:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        delay = min(lane.max_backoff, lane.backoff * 2 ** min(failures - 1, 30)) * random.uniform(0.5, 1.5)  # noqa: S311
        # The first failures of one kind are ordinary (a conflict, a restart); their stack traces would be noise.
        fields = {"key": str(key), "failures": failures, "retrySeconds": round(delay, 1), "error": error}
        log.warning("reconciling failed", extra=fields, exc_info=failures >= 5)
        self._on_error(key)
        self.add_after(key, delay)
