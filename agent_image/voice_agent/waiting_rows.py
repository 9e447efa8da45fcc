"""Rows on their way to the database: in order, and never more of them than a pod has room for. Pure."""

import json
from collections import deque
from itertools import islice

from voice_agent.conversation_items import Row

# Far more than anyone says in a call; bounds, so that no outage can kill the pod by memory.
MOST_ROWS = 20_000
MOST_BYTES = 16 * 1024 * 1024


class WaitingRows:
    """A queue that refuses what is too much. Sizes are bytes of JSON."""

    def __init__(self) -> None:
        """Nothing waits."""
        self._rows: deque[tuple[Row, int]] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, row: Row) -> bool:
        """Takes a row; returns False where there is no room for it."""
        size = len(json.dumps(row))
        if len(self._rows) >= MOST_ROWS or self._bytes + size > MOST_BYTES:
            return False
        self._rows.append((row, size))
        self._bytes += size
        return True

    def first(self, count: int) -> list[Row]:
        """Returns the oldest rows, at most so many."""
        return [row for row, _ in islice(self._rows, count)]

    def drop(self, count: int) -> None:
        """Forgets the oldest rows, so many."""
        for _ in range(count):
            self._bytes -= self._rows.popleft()[1]

    def all(self) -> list[Row]:
        """Returns all of them."""
        return [row for row, _ in self._rows]
