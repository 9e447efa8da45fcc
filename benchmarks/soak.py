"""An hour of calls back to back, and one long call beside them: does anybody's memory go on growing.

Several customers at a time call, type some sentences, and hang up; the next call begins at once. Once a minute the
anonymous memory of the leading operator, the token service and LiveKit is read, by their pods' cgroups: what is held
must level off. One call lasts half an hour, with a sentence every few seconds; its agent's memory at the end is
compared with that after three minutes, when everything it uses has been used once.
"""

import argparse
import asyncio
import itertools
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from livekit import rtc

from benchmarks.call_stage import Call
from benchmarks.release import run_against
from benchmarks.release_stage import ReleaseStage
from benchmarks.report import Progress, print_result
from testing.customer import CustomerError
from testing.front_door import FrontDoorError
from testing.pod_memory import read_pod_memory
from testing.release import Release, ReleaseError
from voice_operator import lease

SECONDS = 3600.0
LONG_CALL_SECONDS = 1800.0
SETTLED_SECONDS = 180.0
READ_EVERY_SECONDS = 60.0
LANES = 2
TURNS = 3
TURN_PAUSE_SECONDS = 5.0
ANSWER_SECONDS = 30.0
MIB = 2**20
PARTS = ("operator", "token-service", "livekit")


@dataclass
class Soak:
    """What was measured. Memory in bytes, one entry a reading, by part."""

    memory: dict[str, list[int]] = field(default_factory=lambda: {part: [] for part in PARTS})
    calls: int = 0
    failures: list[str] = field(default_factory=list)
    long_call_early: int | None = None
    long_call_late: int | None = None
    long_call_turns: int = 0


def growth(readings: Sequence[int]) -> float:
    """Returns by how many MiB the memory has grown over the last half of its readings, between its two quarters.

    Each quarter counts by its middle reading: one that falls into a busy moment says nothing.
    """
    half = readings[len(readings) // 2 :]
    if len(half) < 2:
        return float("nan")
    middle = len(half) // 2
    return (_median(half[middle:]) - _median(half[:middle])) / MIB


def _median(readings: Sequence[int]) -> int:
    return sorted(readings)[len(readings) // 2]


async def _hold_calls(stage: ReleaseStage, soak: Soak, ends_at: float) -> None:
    while time.monotonic() < ends_at:
        try:
            async with stage.call() as call:
                await _greet(call)
                for turn in range(TURNS):
                    await _turn(call, turn)
            soak.calls += 1
        except (CustomerError, FrontDoorError, ReleaseError, rtc.ConnectError, OSError) as error:
            soak.failures.append(str(error))
            await asyncio.sleep(1)


async def _greet(call: Call) -> None:
    await call.customer.answer(call.customer.connect_began_at, ANSWER_SECONDS)


async def _turn(call: Call, number: int) -> None:
    await call.customer.answer(await call.say(f"Remark {number} about the weather."), ANSWER_SECONDS)


async def _hold_long_call(stage: ReleaseStage, soak: Soak, seconds: float) -> None:
    """Holds one call for so long; reads its agent's memory when it has settled, and at the end."""
    began = time.monotonic()
    async with stage.call() as call:
        await _greet(call)
        for number in itertools.count():
            passed = time.monotonic() - began
            if soak.long_call_early is None and passed >= min(SETTLED_SECONDS, seconds / 3):
                soak.long_call_early = await _read_agent(stage, call, soak)
            if passed >= seconds:
                break
            try:
                await _turn(call, number)
            except CustomerError as error:
                soak.failures.append(f"long call, turn {number}: {error}")
                if call.customer.heard.disconnected:
                    return
            soak.long_call_turns += 1
            await asyncio.sleep(TURN_PAUSE_SECONDS)
        soak.long_call_late = await _read_agent(stage, call, soak)


async def _read_agent(stage: ReleaseStage, call: Call, soak: Soak) -> int | None:
    try:
        pod = await stage.pod_of(call)
        return (await asyncio.to_thread(read_pod_memory, stage.release, pod)).anonymous
    except ReleaseError as error:
        soak.failures.append(f"long call's agent: {error}")
        return None


async def _read_all(stage: ReleaseStage, soak: Soak, ends_at: float) -> None:
    while time.monotonic() < ends_at:
        for part in PARTS:
            try:
                pod = await asyncio.to_thread(_find_pod, stage.release, part)
                memory = await asyncio.to_thread(read_pod_memory, stage.release, pod)
            except ReleaseError as error:
                soak.failures.append(f"{part}: {error}")
                continue
            soak.memory[part].append(memory.anonymous)
        await asyncio.sleep(min(READ_EVERY_SECONDS, max(0.0, ends_at - time.monotonic())))


def _find_pod(release: Release, part: str) -> str:
    """Returns the name of a part's pod; of the operators, the one that leads."""
    if part == "operator":
        return str(release.get("lease", lease.NAME)["spec"]["holderIdentity"]).rpartition("_")[0]
    pods = release.get("pods", "-l", f"app.kubernetes.io/component={part}")["items"]
    return min(str(pod["metadata"]["name"]) for pod in pods)


async def soak_all(release: Release, seconds: float, long_call_seconds: float, lanes: int) -> Soak:
    """Runs everything at once."""
    stage, soak = ReleaseStage(release, spoken=False), Soak()
    ends_at = time.monotonic() + seconds
    async with asyncio.TaskGroup() as group:
        for _ in range(lanes):
            group.create_task(_hold_calls(stage, soak, ends_at))
        group.create_task(_hold_long_call(stage, soak, min(long_call_seconds, seconds)))
        group.create_task(_read_all(stage, soak, ends_at))
        group.create_task(_say_how_far(soak, seconds))
    return soak


async def _say_how_far(soak: Soak, seconds: float) -> None:
    progress, began = Progress("seconds", round(seconds), every=60), time.monotonic()
    while (passed := time.monotonic() - began) < seconds:
        progress.at(round(passed))
        await asyncio.sleep(min(10.0, seconds - passed))
    print(f"  {soak.calls} calls", flush=True)


def report(soak: Soak) -> int:
    """Prints a line for each part and the last line; returns 1 where a call failed."""
    for part, readings in soak.memory.items():
        if readings:
            shown = " ".join(f"{reading / MIB:.0f}" for reading in readings[:: max(1, len(readings) // 12)])
            print(f"  {part:<16}{shown} MiB")
    for failure in soak.failures[:5]:
        print(f"  failed: {failure[:300]}")
    early, late = soak.long_call_early, soak.long_call_late
    print_result(
        {
            "calls": soak.calls,
            "failures": len(soak.failures),
            **{f"{part.replace('-', '_')}_growth_mb": growth(readings) for part, readings in soak.memory.items()},
            "long_call_turns": soak.long_call_turns,
            "long_call_early_mb": early / MIB if early else float("nan"),
            "long_call_late_mb": late / MIB if late else float("nan"),
            "long_call_ratio": late / early if early and late else float("nan"),
        }
    )
    return 1 if soak.failures else 0


def main() -> int:
    """Runs the benchmark; returns 1 where a call failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"how long (default {SECONDS:g})")
    parser.add_argument(
        "--long-call", type=float, default=LONG_CALL_SECONDS, help=f"seconds of the one (default {LONG_CALL_SECONDS:g})"
    )
    parser.add_argument("--calls", type=int, default=LANES, help=f"short ones at a time (default {LANES})")
    parser.add_argument("--release", default="voice", help="release and namespace (default voice, as the demo's)")
    arguments = parser.parse_args()

    def run(release: Release) -> int:
        return report(asyncio.run(soak_all(release, arguments.seconds, arguments.long_call, arguments.calls)))

    return run_against(arguments.release, run)


if __name__ == "__main__":
    sys.exit(main())
