"""Keeps the watches running: begun again when they end, when they fail, and when one of them is not heard any more.

A watch is heard when the API server answers it or tells something on it; a quiet one is asked for anew before its time
is over. What is silent beyond that is begun anew as a whole, in this process: links to pods and memory stay.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import NoReturn

from kube.client import KubernetesError, KubernetesUnavailableError
from voice_operator.backoff import Backoff
from voice_operator.metrics import WATCH_RESTARTS

log = logging.getLogger(__name__)

Tasks = Collection[asyncio.Task[None]]

_LOOK_SECONDS = 1.0
# So long the watches may take to end; cancelled twice, as kopf takes the first time for a request.
_END_SECONDS = 3.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0


class WatchesStuckError(Exception):
    """The watches do not end: whatever is begun beside them, they go on in this process."""


class Watches:
    """The watches of these kinds, as `start` begins them all together; it returns the tasks that they run in."""

    def __init__(
        self,
        plurals: Iterable[str],
        silence_seconds: float,
        start: Callable[[], Awaitable[Tasks]],
        list_all: Callable[[str], Awaitable[int]],
    ) -> None:
        """`silence_seconds`: unheard for longer, the watches are begun anew.

        `list_all` takes in a full list of a kind and returns its resource version.
        """
        self._silence_seconds = silence_seconds
        self._start = start
        self._list_all = list_all
        self._heard_at = dict.fromkeys(plurals, time.monotonic())
        self._begun_at = dict(self._heard_at)
        self._listing: set[str] = set()
        self._pauses = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE)
        self._pauses_of = {plural: Backoff(_FIRST_PAUSE, _LONGEST_PAUSE) for plural in self._heard_at}

    # For the watches

    def heard(self, plural: str) -> None:
        """There was a sign of life of this kind's watch; others than ours are not kept."""
        if plural in self._heard_at:
            self._heard_at[plural] = time.monotonic()

    async def list(self, plural: str) -> int:
        """Takes in a full list of this kind, waiting for the API server as long as it takes; returns its version."""
        pauses = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE)
        self._listing.add(plural)
        try:
            while True:
                try:
                    return await self._list_all(plural)
                except (KubernetesError, KubernetesUnavailableError) as error:
                    pause = pauses.next()
                    log.warning("cannot list", extra={"plural": plural, "retrySeconds": pause, "error": error})
                    await asyncio.sleep(pause)
        finally:
            self._listing.discard(plural)
            self._begun_at[plural] = time.monotonic()

    def pause(self, plural: str) -> float:
        """Returns for how many seconds to wait before this kind's watch begins anew."""
        WATCH_RESTARTS.labels(plural, "error").inc()
        return self._pauses_of[plural].next()

    # For whoever runs them

    def find_silent(self) -> tuple[str, float]:
        """Returns the kind whose watch was not heard for the longest time, and for how many seconds.

        What is being listed has no watch that could be silent; each request of a list has a time of its own.
        """
        return self._find_longest(self._heard_at)

    def _find_longest(self, since: Mapping[str, float]) -> tuple[str, float]:
        now = time.monotonic()
        silent = {plural: 0.0 if plural in self._listing else now - at for plural, at in since.items()}
        plural = max(silent, key=silent.__getitem__)
        return plural, silent[plural]

    async def run(self) -> NoReturn:
        """Keeps them running until cancelled.

        Raises:
            WatchesStuckError: they do not end.
        """
        while True:
            self._begun_at = dict.fromkeys(self._heard_at, time.monotonic())
            tasks: Tasks = ()
            try:
                tasks = await self._start()
                cause, fields = await self._until_broken(tasks)
            except Exception as error:
                cause, fields = "ended", {"error": error}
            finally:
                await _end(tasks)
            WATCH_RESTARTS.labels("all", cause).inc()
            pause = self._pauses.next()
            log.warning("the watches begin anew", extra={"cause": cause, "retrySeconds": pause, **fields})
            await asyncio.sleep(pause)

    async def _until_broken(self, tasks: Tasks) -> tuple[str, dict[str, object]]:
        while True:
            done, _ = await asyncio.wait(tasks, timeout=_LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if done:
                return "ended", {"error": next((error for error in map(_error_of, done) if error), None)}
            latest = {plural: max(at, self._begun_at[plural]) for plural, at in self._heard_at.items()}
            plural, seconds = self._find_longest(latest)
            if seconds > self._silence_seconds:
                return "silent", {"plural": plural, "seconds": seconds}


async def _end(tasks: Tasks) -> None:
    pending = set(tasks)
    for _ in range(2):
        for task in pending:
            task.cancel()
        if pending:
            _, pending = await asyncio.wait(pending, timeout=_END_SECONDS)
    for task in tasks:
        with contextlib.suppress(asyncio.InvalidStateError):
            _error_of(task)  # taken, so that nobody complains
    if pending:
        raise WatchesStuckError(", ".join(sorted(task.get_name() for task in pending)))


def _error_of(task: asyncio.Task[None]) -> BaseException | None:
    return None if task.cancelled() else task.exception()
