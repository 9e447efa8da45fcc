"""In which order a conversation's items were said, whatever order they come in: a position for each. Pure."""

import bisect
from datetime import datetime

# Between two positions, for what was said between them and comes later: a realtime model tells a question's words when
# it has answered it. Of the million that an attempt has, so many items are more than anyone says in a call.
STEP = 32


class Places:
    """The positions that were given, by the time of what they were given for."""

    def __init__(self, first: int) -> None:
        """The first position is the one after `first`."""
        self._first = first
        self._times: list[datetime] = []
        self._positions: list[int] = []

    def find(self, at: str) -> int:
        """Returns the position of what was said at this time, an ISO 8601 text with its zone."""
        time = datetime.fromisoformat(at)
        index = bisect.bisect_right(self._times, time)
        before = self._positions[index - 1] if index else self._first
        after = self._positions[index] if index < len(self._positions) else before + 2 * STEP
        position = (before + after) // 2
        if position == before:  # so much was said at once that there is no place left between
            index, position = len(self._positions), self._positions[-1] + STEP
            time = max(time, self._times[-1])
        self._times.insert(index, time)
        self._positions.insert(index, position)
        return position
