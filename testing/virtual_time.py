"""An event loop whose clock stands still while anything can be done, and then jumps to when the next thing is due.

For what waits for time alone: minutes of it pass at once, and on the busiest machine nobody is late.
"""

import asyncio
import selectors


class _Selector(selectors.DefaultSelector):
    """Waits for no time: it passes."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return super().select()
        ready = super().select(0)
        if not ready:
            self.now += max(0.0, timeout)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Begins at 0 seconds."""

    def __init__(self) -> None:
        """Takes no other arguments than any loop."""
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        """Returns the seconds that have passed here."""
        return self._virtual.now
