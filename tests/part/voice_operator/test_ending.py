"""A process ends when it is asked to, whatever hangs in it."""

import asyncio
import json
import signal
import sys

import pytest

PROGRAM = """
import asyncio, time
from voice_operator import ending
from voice_telemetry.logs import configure_logs

async def run():
    stop = asyncio.Event()
    ending.stop_on_signal(stop)
    print("runs", flush=True)
    {what}

ending.END_SECONDS = 1
configure_logs("INFO", {{"voice_operator"}})
ending.block_signals()
asyncio.run(run())
"""
IN_ORDER = "await stop.wait()"
BLOCKED_LOOP = "time.sleep(600)"
DEAF_TASK = """
    while True:
        try:
            await asyncio.sleep(600)
        except BaseException:
            pass
"""


async def end(what: str, number: signal.Signals) -> tuple[int | None, list[str]]:
    """Runs a program that does this, asks it to end, and returns its exit code and what it has logged."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM.format(what=what)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(60):
        assert await process.stdout.readline() == b"runs\n"
    process.send_signal(number)
    async with asyncio.timeout(60):
        _, errors = await process.communicate()
    return process.returncode, [json.loads(line)["message"] for line in errors.decode().splitlines()]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_in_order_where_nothing_hangs(number: signal.Signals) -> None:
    assert await end(IN_ORDER, number) == (0, ["asked to end"])


@pytest.mark.parametrize("what", [BLOCKED_LOOP, DEAF_TASK])
async def test_within_its_time_where_something_hangs(what: str) -> None:
    assert await end(what, signal.SIGTERM) == (70, ["asked to end", "the process ends"])
