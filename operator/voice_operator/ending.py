"""How the process ends: in order when it is asked to, within ten seconds whatever hangs; at once where it cannot go on.

The signal is waited for in a thread: an event loop that is stuck does not keep it from being heard.
"""

import asyncio
import contextlib
import logging
import os
import signal
import threading
import time
from typing import NoReturn

log = logging.getLogger(__name__)

END_SECONDS = 10
EXIT_CODE = 70
_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})


class CannotGoOnError(Exception):
    """The process has to end; the message says why."""


def block_signals() -> None:
    """Leaves the signals to `stop_on_signal`. To be called before there is a second thread."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


def stop_on_signal(stop: asyncio.Event) -> None:
    """Sets `stop`, in the running event loop, when SIGTERM or SIGINT comes; ten seconds later the process is over."""
    loop = asyncio.get_running_loop()
    threading.Thread(target=_wait_for_signal, args=(loop, stop), name="signals", daemon=True).start()


def exit_now(why: str) -> NoReturn:
    """Ends the process at once, without anything that could hang."""
    log.critical("the process ends", extra={"reason": why})
    os._exit(EXIT_CODE)


def _wait_for_signal(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    number = signal.sigwait(_SIGNALS)
    # The system's own: it ends the process even where this thread cannot go on. A second later than what can say why.
    signal.alarm(END_SECONDS + 1)
    log.info("asked to end", extra={"signal": signal.Signals(number).name})
    with contextlib.suppress(RuntimeError):  # the loop is closed
        loop.call_soon_threadsafe(stop.set)
    time.sleep(END_SECONDS)
    exit_now("it has not ended within its time")
