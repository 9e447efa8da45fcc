"""Programs that a benchmark starts: none outlives it, Ctrl-C or not; and how much CPU time each has used."""

import asyncio
import contextlib
import os
import subprocess
import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

READY_SECONDS = 60
END_SECONDS = 20


def run_benchmark(benchmark: Coroutine[Any, Any, int]) -> int:
    """Runs to the end, or until Ctrl-C, which ends all programs too; returns the exit code."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(benchmark)
    except KeyboardInterrupt:
        print("stopped", flush=True)
        return 130


@contextlib.contextmanager
def running(
    command: Sequence[str | Path], log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Starts a program that writes to `log`, with PATH, HOME, PYTHONPATH and `environment`; ends it."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}
    with log.open("wb") as output:
        # An own group: a Ctrl-C at the terminal lets the benchmark end it in order. And never without us.
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", *command],
            env={**kept, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            process_group=0,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def until_ready(http: aiohttp.ClientSession, url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Waits until `url` answers 200.

    Raises:
        RuntimeError: the program has ended, or takes too long; with the end of its log.
    """
    deadline = time.monotonic() + READY_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(aiohttp.ClientError):
            async with http.get(url) as answer:
                if answer.status == 200:
                    return
        await asyncio.sleep(0.1)
    raise RuntimeError(f"{log.stem} is not ready:\n{await asyncio.to_thread(read_end, log)}")


def read_end(log: Path) -> str:
    """Returns the last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-10:])


def cpu_seconds(pid: int) -> float:
    """Returns the CPU time that a process has used, without that of its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cpu_seconds_by_program() -> dict[str, float]:
    """Returns the CPU time of this process and of each program that it has started."""
    pid = os.getpid()
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    used = {"this benchmark": cpu_seconds(pid)}
    for child in children:
        name = _program(child)
        used[name] = used.get(name, 0.0) + cpu_seconds(int(child))
    return used


def _program(pid: str) -> str:
    arguments = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    return arguments[arguments.index("-m") + 1] if "-m" in arguments else Path(arguments[0]).name
