"""The only waits of tests: for a condition, with a deadline; or to see that it goes on to hold."""

import asyncio
import inspect
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar, overload

WAIT_SECONDS = 20.0
PACE_SECONDS = 0.02
SLOW_PACE_SECONDS = 0.1

_T = TypeVar("_T")
# What is told when it did not come to pass: words, or what tells how things stand then.
Why = str | Callable[[], object]


@overload
async def eventually(
    condition: Callable[[], Awaitable[_T | None]], seconds: float = WAIT_SECONDS, why: Why = ""
) -> _T: ...
@overload
async def eventually(condition: Callable[[], _T | None], seconds: float = WAIT_SECONDS, why: Why = "") -> _T: ...
async def eventually(condition: Callable[[], Any], seconds: float = WAIT_SECONDS, why: Why = "") -> Any:
    """Returns the first true answer of `condition`, which may be a coroutine function.

    Raises:
        TimeoutError: none came within `seconds`; tells `why`.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + seconds
    while not (answer := await _ask(condition)):
        if clock() > deadline:
            raise TimeoutError(_tell(seconds, why))
        await asyncio.sleep(PACE_SECONDS)
    return answer


def eventually_sync(
    condition: Callable[[], _T | None], seconds: float = WAIT_SECONDS, why: Why = "", pace: float = PACE_SECONDS
) -> _T:
    """As `eventually`, where there is no event loop. `pace`: longer where asking costs something."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(_tell(seconds, why))
        time.sleep(pace)
    return answer


async def stays(condition: Callable[[], Any], seconds: float, why: Why) -> None:
    """Sees that `condition` holds for `seconds`. `why`: what would break it, and by when that would show.

    Raises:
        AssertionError: it does not hold, or not any more.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + seconds
    while True:
        assert await _ask(condition), why() if callable(why) else why
        left = deadline - clock()
        if left <= 0:
            return
        await asyncio.sleep(min(left, SLOW_PACE_SECONDS))


async def let_others_run() -> None:
    """Lets every other task run as far as it can without a thread's help; no time has to pass."""
    for _ in range(10):
        await asyncio.sleep(0)


def until_started(process: "subprocess.Popen[bytes]", is_ready: Callable[[], bool], log: Path, seconds: float) -> None:
    """Waits until a process that was started can be used.

    Raises:
        AssertionError: it has ended; with the end of its log.
        TimeoutError: not within `seconds`; the same.
    """

    def look() -> bool:
        assert process.poll() is None, f"it has ended: {_end_of(log)}"
        return is_ready()

    eventually_sync(look, seconds, lambda: _end_of(log))


async def _ask(condition: Callable[[], Any]) -> Any:
    answer = condition()
    return await answer if inspect.isawaitable(answer) else answer


def _tell(seconds: float, why: Why) -> str:
    return f"not within {seconds:g} s: {why() if callable(why) else why}"


def _end_of(log: Path) -> str:
    return log.read_text()[-2000:]
