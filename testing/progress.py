"""Says what a long step does and how long it has been at it, on one line a step."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Step:
    """A running step: `note` replaces what is said of it."""

    def __init__(self, title: str) -> None:
        """Takes what the step is called."""
        self.title = title
        self.began = time.monotonic()
        self._last = ""

    def note(self, text: str) -> None:
        """Says how far the step is; says nothing where nothing has changed."""
        if text != self._last:
            self._last = text
            print(f"    {time.monotonic() - self.began:5.0f} s  {text}", flush=True)


@contextmanager
def step(number: int, total: int, title: str) -> Iterator[Step]:
    """Prints the step's heading, and its time when it is done; Ctrl-C stops it."""
    print(f"[{number}/{total}] {title}", flush=True)
    running = Step(title)
    try:
        yield running
    except BaseException:
        print(f"    stopped after {time.monotonic() - running.began:.0f} s: {title}", file=sys.stderr, flush=True)
        raise
    print(f"    done in {time.monotonic() - running.began:.1f} s", flush=True)
