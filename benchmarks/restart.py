"""The operator is killed with thousands of calls in progress: how soon the next one follows them all, and serves again.

Everything runs on this machine, as for the claims: simulated nodes and pods, one server that answers for all pods, a
real API server, the operator as a process of its own. A stage has so many calls in progress; then the operator is
killed and begun anew at once, and from then on new VoiceSessions are created at an even rate. Times count from when
the new process begins to lead: how long Python needs to start, and a Lease to run out, is another benchmark's question.
Whether a call is followed is told by its pod.
"""

import argparse
import asyncio
import re
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from livekit import api

from benchmarks.control_plane import ControlPlane, running_control_plane, scratch_folder
from benchmarks.processes import run_benchmark
from benchmarks.report import Progress, print_result
from voicesession.names import VOICE_SESSIONS

COUNTS = (10, 1_000, 5_000)
# Longer than the benchmark runs: a call in progress stays that.
CALL_SECONDS = 4 * 3600.0
# How fast calls are begun before the kill; how many at once.
BEGIN_AT_ONCE = 20
BEGIN_SECONDS = 600.0
# New calls after the kill: so many, so far apart.
NEW_CALLS = 10
NEW_CALL_PAUSE = 0.3
FOLLOW_SECONDS = 120.0
# What each stage promises, in seconds.
FOLLOWED = {10: 1.0, 1_000: 3.0, 5_000: 12.0}
FIRST_CLAIM = 3.0


@dataclass
class Stage:
    """One restart with `count` calls in progress. Times in seconds from when the new process leads."""

    count: int
    followed: float = float("inf")  # the last of them
    from_kill: float = float("inf")  # the same, from the kill on
    claims: list[float] = field(default_factory=list)  # of new calls: from due, or the beginning, to accepted
    silent: int = 0
    ended_wrongly: int = 0


async def run_stage(plane: ControlPlane, names: list[str], count: int) -> Stage:
    """Brings the number of calls to `count`, kills the operator, and watches."""
    await _begin_calls(plane, names, count)
    stage = Stage(count)
    holder = await plane.read_holder()
    killed_at = time.monotonic()
    plane.operator.kill()
    plane.operator.begin_anew()
    began = await _until_it_leads(plane, holder)
    new = await _create_new_calls(plane, f"new-{count}")
    followed_at = await _until_followed(plane, names, killed_at)
    stage.followed, stage.from_kill = followed_at - began, followed_at - killed_at
    accepted = await _until_accepted(plane, new)
    stage.claims = [accepted.get(name, float("inf")) - due for name, due in new.items()]
    stage.silent = await _read_silent(plane)
    phases = [(each["status"].get("phase"), each["metadata"]["name"]) for each in await _list_sessions(plane)]
    stage.ended_wrongly = len(names) - sum(1 for phase, name in phases if name in set(names) and phase == "Active")
    names += new
    return stage


async def _begin_calls(plane: ControlPlane, names: list[str], count: int) -> None:
    wanted = [f"call-{number}" for number in range(len(names), count)]
    print(f"\n{count} calls: {len(wanted)} more begin", flush=True)
    await plane.fill_pool(len(wanted) + NEW_CALLS, in_use=len(names))
    # Claimed pods are not replaced while calls begin; and those that are too many now stay.
    await plane.set_pool(min=NEW_CALLS, scaleDownDelaySeconds=3600)
    progress, gate = Progress("calls begun", len(wanted)), asyncio.Semaphore(BEGIN_AT_ONCE)

    async def begin(name: str) -> None:
        async with gate:
            await _create_call(plane, livekit, name)

    async with plane.livekit.client() as livekit:
        await asyncio.gather(*(begin(name) for name in wanted))
    names += wanted
    deadline = time.monotonic() + BEGIN_SECONDS
    while (active := sum(1 for each in await _list_sessions(plane) if each["status"].get("phase") == "Active")) < count:
        progress.at(active)
        if time.monotonic() > deadline:
            raise RuntimeError(f"only {active} of {count} calls have begun within {BEGIN_SECONDS:.0f} s")
        await asyncio.sleep(1)


async def _until_it_leads(plane: ControlPlane, before: str | None) -> float:
    """Returns when another process than `before` holds the Lease."""
    deadline = time.monotonic() + FOLLOW_SECONDS
    while await plane.read_holder() in {before, None, ""}:
        if time.monotonic() > deadline:
            raise RuntimeError(f"nobody leads {FOLLOW_SECONDS:.0f} s after the kill")
        await asyncio.sleep(0.02)
    return time.monotonic()


async def _create_new_calls(plane: ControlPlane, prefix: str) -> dict[str, float]:
    """Creates calls at even times; returns when each was due."""
    due: dict[str, float] = {}
    async with plane.livekit.client() as livekit:
        for number in range(NEW_CALLS):
            name = f"{prefix}-{number}"
            due[name] = time.monotonic()
            await _create_call(plane, livekit, name)
            await asyncio.sleep(NEW_CALL_PAUSE)
    return due


async def _create_call(plane: ControlPlane, livekit: api.LiveKitAPI, name: str) -> None:
    """Creates a VoiceSession and its room, which stays though nobody comes: a call without a room is ended."""
    room = f"room-{name}"
    await livekit.room.create_room(api.CreateRoomRequest(name=room, empty_timeout=round(CALL_SECONDS)))
    await plane.sessions.create(name, room, "default")


async def _until_followed(plane: ControlPlane, names: list[str], killed_at: float) -> float:
    """Returns when the last of the calls was followed again; infinity where one is not."""
    deadline = time.monotonic() + FOLLOW_SECONDS
    while time.monotonic() < deadline:
        opened = (await plane.read_results())["followed"]
        if all(opened.get(name, 0.0) > killed_at for name in names):
            return max((float(opened[name]) for name in names), default=killed_at)
        await asyncio.sleep(0.5)
    return float("inf")


async def _until_accepted(plane: ControlPlane, due: dict[str, float]) -> dict[str, float]:
    deadline = time.monotonic() + FOLLOW_SECONDS
    while True:
        accepted: dict[str, float] = (await plane.read_results())["accepted"]
        if due.keys() <= accepted.keys() or time.monotonic() > deadline:
            return accepted
        await asyncio.sleep(0.5)


async def _read_silent(plane: ControlPlane) -> int:
    """Returns how many pods the new process took for silent."""
    async with plane.http.get(f"{plane.operator.url}/metrics") as answer:
        found = re.search(r"^voice_operator_pods_silent_total (\S+)$", await answer.text(), re.MULTILINE)
    return round(float(found.group(1))) if found else -1


async def _list_sessions(plane: ControlPlane) -> list[dict[str, Any]]:
    objects, _ = await plane.api.list_objects(VOICE_SESSIONS)
    return [{"status": {}, **each} for each in objects]


def report(stages: list[Stage]) -> int:
    """Prints a line for each stage, and the last line; returns 1 where a call was ended or none followed it."""
    for stage in stages:
        print(
            f"  {stage.count:>5} calls: all followed after {stage.followed:.1f} s "
            f"({stage.from_kill:.1f} after the kill), "
            f"new ones accepted after at most {max(stage.claims):.2f} s, {stage.silent} silent, "
            f"{stage.ended_wrongly} ended"
        )
    result: dict[str, object] = {f"followed_{stage.count}_s": stage.followed for stage in stages}
    result |= {f"from_kill_{stage.count}_s": stage.from_kill for stage in stages}
    first_claim = max(max(stage.claims) for stage in stages)
    silent, ended = sum(stage.silent for stage in stages), sum(stage.ended_wrongly for stage in stages)
    print_result({**result, "first_claim_s": first_claim, "silent": silent, "ended_wrongly": ended})
    in_time = all(stage.followed <= FOLLOWED.get(stage.count, FOLLOW_SECONDS) for stage in stages)
    return 0 if in_time and first_claim <= FIRST_CLAIM and not silent and not ended else 1


async def measure(counts: list[int]) -> int:
    """Runs all stages on one control plane, the smallest first."""
    with scratch_folder() as folder:
        async with running_control_plane(folder, call_seconds=CALL_SECONDS) as plane:
            names: list[str] = []
            return report([await run_stage(plane, names, count) for count in sorted(counts)])


def main() -> int:
    """Runs the benchmark; returns 1 where it does not show what it must."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.restart", description=__doc__)
    parser.add_argument("--calls", type=int, nargs="+", default=list(COUNTS), help="in progress (default 10 1000 5000)")
    return run_benchmark(measure(parser.parse_args().calls))


if __name__ == "__main__":
    sys.exit(main())
