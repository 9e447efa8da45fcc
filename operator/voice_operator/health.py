"""What probes are told: whether the operator lives, and whether it can serve."""

import time
from collections.abc import Callable
from typing import Protocol

# Watches begin anew by themselves; where that has not helped, the process does.
_SILENCE_SHARE = 1.2
# While the API server answers nobody, a new process would hear no more than this one. But not for ever: what it cannot
# reach may be at fault here.
_ANSWERED_SHARE = 0.4
_AWAY_SECONDS = 600.0
# Far longer than anything that one key waits for.
_STUCK_SECONDS = 60.0


class Heard(Protocol):
    """What is asked of the watches."""

    def find_silent(self) -> tuple[str, float]:
        """Returns the kind that was not heard for the longest time, and for how many seconds."""


class Serving(Protocol):
    """What is asked of the operator."""

    @property
    def synced(self) -> bool:
        """Tells whether everything there is was seen."""

    @property
    def stuck_seconds(self) -> float:
        """Returns for how long nothing has been looked at though something is to be."""

    @property
    def answered_at(self) -> float:
        """Returns when the API server last did what it was asked, by the monotonic clock."""

    @property
    def obstacle(self) -> str | None:
        """Returns why this operator will not lead."""


class Health:
    """The answers to the probes; each is what is missing, as a sentence, or None."""

    def __init__(
        self,
        operator: Serving,
        watches: Heard,
        silence_seconds: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`silence_seconds`: after how long the watches begin anew by themselves."""
        self._operator = operator
        self._watches = watches
        self._silence_seconds = silence_seconds * _SILENCE_SHARE
        self._answered_seconds = silence_seconds * _ANSWERED_SHARE
        self._now = now

    def is_live(self) -> str | None:
        """Returns why only a new process can help."""
        plural, silent = self._watches.find_silent()
        unanswered = self._now() - self._operator.answered_at
        if silent > self._silence_seconds and unanswered < self._answered_seconds:
            return f"the watch of {plural} was not heard for {silent:.0f} s, though the API server answers"
        if unanswered > _AWAY_SECONDS:
            return f"the API server has not answered for {unanswered:.0f} s"
        if self._operator.stuck_seconds > _STUCK_SECONDS:
            return f"nothing was looked at for {self._operator.stuck_seconds:.0f} s, though something is to be"
        return None

    def is_ready(self) -> str | None:
        """Returns why this operator could not take over now."""
        return self._operator.obstacle if self._operator.synced else "the first lists are not complete"
