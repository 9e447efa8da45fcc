"""Ends a process whose event loop stands still: its clocks stand with it, so nothing else would ever end its call.

LiveKit's native threads keep such an agent in its room, where it is mute and counts as there. Code that waits without
the event loop, for a request, a lock, a computation, does that to it.
"""

import asyncio
import sys
import threading
import time
import traceback
from collections.abc import Callable

from voice_telemetry.logs import describe_place

# So many waits make the time that a pool allows. Many short ones: a process that was frozen misses but one.
MOST_MISSED = 12
_MOST_FRAMES = 12


def watch_event_loop(seconds: float, on_standstill: Callable[[list[str]], None]) -> None:
    """Watches the running loop from a thread of its own, until the loop is closed.

    `on_standstill` is called in that thread when the loop has done nothing for `seconds`; it is told where the loop's
    thread stands: file, line and function of its last frames, the innermost last.
    """
    work = (asyncio.get_running_loop(), threading.get_ident(), seconds / MOST_MISSED, on_standstill)
    threading.Thread(target=_watch, args=work, name="watchdog", daemon=True).start()


def _watch(
    loop: asyncio.AbstractEventLoop, thread: int, period: float, on_standstill: Callable[[list[str]], None]
) -> None:
    missed = 0
    while missed < MOST_MISSED:
        answered = threading.Event()
        try:
            loop.call_soon_threadsafe(answered.set)
        except RuntimeError:
            return  # closed
        missed = 0 if answered.wait(period) else missed + 1
        if not missed:
            time.sleep(period)
    on_standstill(_frames(thread))


def _frames(thread: int) -> list[str]:
    stack = traceback.walk_stack(sys._current_frames()[thread])  # noqa: SLF001 - documented, for debuggers
    frames = [describe_place(frame.f_code.co_filename, line, frame.f_code.co_name) for frame, line in stack]
    return frames[:_MOST_FRAMES][::-1]
