"""Says what is being done, the how-manieth of how many, and for how long it has been going on."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

HEARTBEAT_SECONDS = 15.0


def say(message: str) -> None:
    """Prints one line at once, also into a pipe."""
    print(message, flush=True)


@contextmanager
def step(message: str) -> Iterator[None]:
    """Announces a step, shows that it lives while it takes long, and says how long it took."""
    started = time.monotonic()
    done = threading.Event()
    on_terminal = sys.stdout.isatty()

    def show_life() -> None:
        while not done.wait(1.0 if on_terminal else HEARTBEAT_SECONDS):
            elapsed = time.monotonic() - started
            text = f"  {message} … {elapsed:.0f} s"
            print(f"\r{text}" if on_terminal else text, end="" if on_terminal else "\n", flush=True)

    say(f"  {message} …")
    watcher = threading.Thread(target=show_life, daemon=True)
    watcher.start()
    outcome = "failed"
    try:
        yield
        outcome = "done"
    finally:
        done.set()
        watcher.join()
        line_start = "\r" if on_terminal else ""
        say(f"{line_start}  {message}: {outcome} in {time.monotonic() - started:.1f} s")
