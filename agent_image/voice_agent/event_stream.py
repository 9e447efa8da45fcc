"""The pod's events: kept from the beginning, read by anyone at any time, with heartbeats in between."""

import asyncio
from collections.abc import AsyncGenerator, Callable

from voicesession.assignment import Heartbeat, PodEvent

# Promised: at most 3 s apart.
HEARTBEAT_SECONDS = 2.0


class EventStream:
    """A list of events that grows until it is closed."""

    def __init__(self, build_heartbeat: Callable[[], Heartbeat]) -> None:
        """`build_heartbeat` is asked for a fresh heartbeat whenever a reader has had nothing for a while."""
        self._build_heartbeat = build_heartbeat
        self._lines: list[bytes] = []
        self._told_once: set[int] = set()  # positions of lines that go with the first who has got them
        self._news = asyncio.Event()
        self._readers = 0
        self._all_read = asyncio.Event()
        self._all_read.set()
        self.closed = False

    def emit(self, event: PodEvent) -> None:
        """Appends an event; every reader gets it."""
        self._lines.append(_to_line(event))
        self._wake()

    def emit_passing(self, event: PodEvent) -> Callable[[], None]:
        """Appends an event that is told until the returned function is called; who reads later gets it no more."""
        position = len(self._lines)
        self.emit(event)

        def withdraw() -> None:
            self._lines[position] = b""

        return withdraw

    def emit_once(self, event: PodEvent) -> None:
        """Appends an event that nobody is told again who comes after its first reader: another one has counted it."""
        self._told_once.add(len(self._lines))
        self.emit(event)

    def close(self) -> None:
        """Says that nothing more comes: readers end after the last event."""
        self.closed = True
        self._wake()

    async def read(self) -> AsyncGenerator[bytes, None]:
        """Yields every event from the first on, one JSON line each; heartbeats while there is nothing new."""
        self._readers += 1
        self._all_read.clear()
        try:
            async for line in self._follow():
                yield line
        finally:
            self._readers -= 1
            if not self._readers:
                self._all_read.set()

    async def wait_until_read(self, timeout: float) -> None:
        """Waits until no reader is left, at most `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._all_read.wait()
        except TimeoutError:
            return

    async def _follow(self) -> AsyncGenerator[bytes, None]:
        position = 0
        while True:
            news = self._news
            while position < len(self._lines):
                if line := self._lines[position]:
                    yield line
                if position in self._told_once:  # whose writing has not failed
                    self._told_once.discard(position)
                    self._lines[position] = b""
                position += 1
            if self.closed and position == len(self._lines):
                return
            try:
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    await news.wait()
            except TimeoutError:
                yield _to_line(self._build_heartbeat())

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


def _to_line(event: PodEvent) -> bytes:
    return event.model_dump_json(by_alias=True, exclude_none=True).encode() + b"\n"
