"""Says what is being done and for how long, a line for each step, however many run at once."""

import itertools
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from local_cluster.errors import StoppedError

HEARTBEAT_SECONDS = 30.0
_CLEAR_LINE = "\r\x1b[K"


def say(message: str) -> None:
    """Prints one line at once, also into a pipe."""
    _BOARD.say(message)


@contextmanager
def step(message: str) -> Iterator[None]:
    """Announces a step, shows that it lives while it takes long, and says how long it took; from any thread."""
    began = time.monotonic()
    key = _BOARD.begin(message, began)
    outcome = "stopped after"
    try:
        yield
        outcome = "done in"
    except StoppedError:
        raise
    except Exception:
        outcome = "failed after"
        raise
    finally:
        _BOARD.end(key, f"  {message}: {outcome} {describe_seconds(time.monotonic() - began)}")


def describe_running(running: Sequence[tuple[str, float]], width: int) -> str:
    """One line, at most `width` characters, of the steps that run (without what is in brackets), with times. Pure."""
    shown = [f"{message.partition(' (')[0]} {describe_seconds(seconds)}" for message, seconds in running]
    text = "  … " + " | ".join(shown)
    return text if len(text) <= width else text[: width - 1] + "…"


def describe_seconds(seconds: float) -> str:
    """`4.2 s`, `75 s` or `6 min 5 s`. Pure."""
    whole = round(seconds)
    if whole < 10:
        return f"{seconds:.1f} s"
    return f"{whole} s" if whole < 120 else f"{whole // 60} min {whole % 60} s"


class _Board:
    """The steps that run. It alone prints: whole lines, and on a terminal a last one that is written over."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keys = itertools.count()
        self._running: dict[int, tuple[str, float]] = {}
        self._at_rest = threading.Event()

    def say(self, line: str) -> None:
        with self._lock:
            self._print(line)

    def begin(self, message: str, began: float) -> int:
        with self._lock:
            key = next(self._keys)
            self._running[key] = (message, began)
            if sys.stdout.isatty():
                self._show()
            else:
                self._print(f"  {message} …")
            if len(self._running) == 1:
                self._at_rest = threading.Event()
                threading.Thread(target=self._show_life, args=(self._at_rest,), daemon=True).start()
        return key

    def end(self, key: int, line: str) -> None:
        with self._lock:
            del self._running[key]
            if not self._running:
                self._at_rest.set()
            self._print(line)

    def _show_life(self, at_rest: threading.Event) -> None:
        while not at_rest.wait(1.0 if sys.stdout.isatty() else HEARTBEAT_SECONDS):
            with self._lock:
                if self._running:
                    self._show()

    def _print(self, line: str) -> None:
        if not sys.stdout.isatty():
            print(line, flush=True)
            return
        print(f"{_CLEAR_LINE}{line}", flush=True)
        if self._running:
            self._show()

    def _show(self) -> None:
        now = time.monotonic()
        running = [(message, now - began) for message, began in self._running.values()]
        if sys.stdout.isatty():
            width = shutil.get_terminal_size().columns - 1
            print(f"{_CLEAR_LINE}{describe_running(running, width)}", end="", flush=True)
        else:
            print(describe_running(running, 1000), flush=True)


_BOARD = _Board()
