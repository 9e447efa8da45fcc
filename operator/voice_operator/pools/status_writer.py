"""Writes the status of pools and profiles, which is for people: only what is new, and that not too often."""

import contextlib
import time

from kube.client import NotFoundError
from voice_operator.keys import Key, Kind
from voice_operator.work_queue import WorkQueue
from voice_operator.write_through import WriteThrough
from voicesession.models import AgentPool, AgentPoolStatus, AgentProfile, AgentProfileStatus

INTERVAL_SECONDS = 5.0


class StatusWriter:
    """Of all objects of one of our kinds; `kind` are the keys by which what is put off is looked at again."""

    def __init__(self, plural: str, kind: Kind, kubernetes: WriteThrough, queue: WorkQueue[Key]) -> None:
        self._plural = plural
        self._kind = kind
        self._kubernetes = kubernetes
        self._queue = queue
        self._written_at: dict[str, float] = {}  # by name

    async def write(self, object_: AgentPool | AgentProfile, status: AgentPoolStatus | AgentProfileStatus) -> None:
        """Writes a status, or puts it off if the last one was written just now.

        Raises:
            ConflictError: the object has changed, and its event is on the way; to be retried.
        """
        name = object_.metadata.name
        if status == object_.status:
            return
        wait = self._written_at.get(name, float("-inf")) + INTERVAL_SECONDS - time.monotonic()
        if wait > 0:
            self._queue.add_after(Key(self._kind, name), wait)
            return
        self._written_at[name] = time.monotonic()
        with contextlib.suppress(NotFoundError):
            await self._kubernetes.write_status(self._plural, object_, status)

    def forget(self, name: str) -> None:
        """Drops what is remembered of an object of this name."""
        self._written_at.pop(name, None)
