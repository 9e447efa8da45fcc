"""Pauses between tries: each twice the one before, with jitter, from the first again after a calm time."""

import random
import time


class Backoff:
    """The pauses of one thing that is tried again and again."""

    def __init__(self, first: float, longest: float, calm_seconds: float = 60.0) -> None:
        """Seconds all. `calm_seconds`: after so long without a try the next pause is the first again."""
        self._first = first
        self._longest = longest
        self._calm_seconds = calm_seconds
        self._pause = first
        self._asked_at = float("-inf")

    def next(self) -> float:
        """Returns for how many seconds to wait before the next try."""
        now = time.monotonic()
        calm = now - self._asked_at > self._calm_seconds
        self._pause = self._first if calm else min(self._pause * 2, self._longest)
        self._asked_at = now
        return self._pause * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
