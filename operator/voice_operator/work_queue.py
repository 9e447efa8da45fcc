"""A queue of keys: each is handled by one worker at a time, again after an error, and once for many additions."""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Generic, TypeVar

from voice_operator.metrics import QUEUE_DEPTH
from voice_telemetry.logs import log_context

K = TypeVar("K", bound=Hashable)
log = logging.getLogger(__name__)

# uvloop counts in milliseconds, and for none of them returns a handle that knows no time.
_SHORTEST_SECONDS = 0.001


class WorkQueue(Generic[K]):
    """Hands keys to `handle`. A key added while it is handled is handled once more afterwards.

    A raised exception is logged and the key retried after `backoff` seconds, doubling up to `max_backoff`, each time
    with jitter; a success forgets the failures. Whoever handles a key decides when there is nothing more to do for it.
    """

    def __init__(
        self,
        handle: Callable[[K], Awaitable[None]],
        *,
        workers: int = 64,
        backoff: float = 0.1,
        max_backoff: float = 30.0,
        on_error: Callable[[K], None] = lambda _key: None,
        log_fields: Callable[[K], Mapping[str, object]] = lambda _key: {},
    ) -> None:
        """`log_fields`: what log lines hold while a key is handled."""
        self._handle = handle
        self._workers = workers
        self._backoff = backoff
        self._max_backoff = max_backoff
        self._on_error = on_error
        self._log_fields = log_fields
        self._ready: asyncio.Queue[K] = asyncio.Queue()
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
        self._moved_at = time.monotonic()

    @property
    def stuck_seconds(self) -> float:
        """Returns for how long no key has been taken though one is ready; 0 where none is, and while it is paused."""
        return time.monotonic() - self._moved_at if self._queued and self._open.is_set() else 0.0

    def start(self) -> None:
        """Starts the workers in the running event loop."""
        self._tasks = [asyncio.create_task(self._work(), name=f"queue-{n}") for n in range(self._workers)]

    def pause(self) -> None:
        """Has no key taken until `resume`. What is being handled goes on, and keys may be added."""
        self._open.clear()

    def resume(self) -> None:
        """Has keys taken again."""
        self._moved_at = time.monotonic()
        self._open.set()

    async def drain(self, seconds: float) -> None:
        """Pauses, and returns when nothing is being handled any more, or after `seconds`."""
        self.pause()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), seconds)

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
            if not self._queued:
                self._moved_at = time.monotonic()
            self._queued.add(key)
            self._ready.put_nowait(key)
            QUEUE_DEPTH.set(len(self._queued))

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

    async def _work(self) -> None:
        while True:
            key = await self._ready.get()
            await self._open.wait()
            self._moved_at = time.monotonic()
            self._queued.discard(key)
            QUEUE_DEPTH.set(len(self._queued))
            self._running.add(key)
            self._idle.clear()
            try:
                with log_context(**self._log_fields(key)):
                    await self._handle_or_retry(key)
            finally:
                self._running.discard(key)
                if not self._running:
                    self._idle.set()
            if key in self._again:
                self._again.discard(key)
                self.add(key)

    async def _handle_or_retry(self, key: K) -> None:
        try:
            await self._handle(key)
        except Exception as error:
            self._retry(key, error)
        else:
            self._failures.pop(key, None)

    def _retry(self, key: K, error: Exception) -> None:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        delay = min(self._max_backoff, self._backoff * 2 ** (failures - 1)) * random.uniform(0.5, 1.5)  # noqa: S311
        # The first failures of one kind are ordinary (a conflict, a restart); their stack traces would be noise.
        fields = {"key": str(key), "failures": failures, "retrySeconds": round(delay, 1), "error": error}
        log.warning("reconciling failed", extra=fields, exc_info=failures >= 5)
        self._on_error(key)
        self.add_after(key, delay)
