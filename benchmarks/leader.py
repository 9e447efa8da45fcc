"""The leading operator is killed, stopped, and frozen under load: how soon the other one serves, and what is lost.

Everything runs on this machine, as for the claims, with two operators. VoiceSessions are created at an even rate all
the time. Each round ends the leader, by SIGKILL as a lost node does or by SIGTERM as an upgrade does; the takeover is
over when the first VoiceSession that was due after that is accepted by its pod. Then the ended one is begun anew, in
another pod. At last the leader is stopped (SIGSTOP) for longer than its Lease, and wakes up as one that was replaced:
what it writes then is counted in the API server's audit log, where each operator has a name of its own.
"""

import argparse
import asyncio
import secrets
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.control_plane import ControlPlane, running_control_plane, scratch_folder
from benchmarks.operator_program import OperatorProgram
from benchmarks.processes import run_benchmark
from benchmarks.report import percentile, print_result, print_table
from benchmarks.session_load import Load, creating, read_accepted, until_accepted
from benchmarks.writes import audit_arguments, read_writes
from voicesession import clock

RATE = 5.0
ROUNDS = 20
FROZEN_SECONDS = 60.0
# Enough for those who have waited while nobody led.
POOL_SIZE = 120
# How long to wait for what takes ten seconds at most.
TAKEOVER_SECONDS = 60.0
CALM_SECONDS = 3.0
KILL_P99, STOP_P99 = 10.0, 2.0


@dataclass
class Takeovers:
    """What was measured, in seconds."""

    kills: list[float] = field(default_factory=list)
    stops: list[float] = field(default_factory=list)
    deposed_writes: int = 0
    deposed_ended: bool = True  # the one that woke up has ended, as it should


async def find_leader(plane: ControlPlane) -> OperatorProgram:
    """Returns the operator that leads."""
    holder = await plane.read_holder() or ""
    return next(operator for operator in plane.operators if operator.pod == holder.rpartition("_")[0])


async def time_takeover(plane: ControlPlane, load: Load, end: Callable[[OperatorProgram], object]) -> float:
    """Ends the leader; returns after how many seconds a VoiceSession that was due later is accepted."""
    leader = await find_leader(plane)
    ended_at = time.monotonic()
    end(leader)
    seconds = await _until_served(plane, load, ended_at)
    leader.begin_anew(f"{leader.pod.rpartition('.')[0] or leader.pod}.{secrets.token_hex(3)}")
    await leader.until_ready(plane.http)
    await asyncio.sleep(CALM_SECONDS)
    return seconds


async def _until_served(plane: ControlPlane, load: Load, since: float) -> float:
    deadline = time.monotonic() + TAKEOVER_SECONDS
    while time.monotonic() < deadline:
        await read_accepted(plane, load)
        later = [at for name, at in load.accepted.items() if load.due[name] > since]
        if later:
            return min(later) - since
        await asyncio.sleep(0.1)
    raise RuntimeError(f"nobody serves {TAKEOVER_SECONDS:.0f} s after the leader has ended")


async def count_deposed_writes(plane: ControlPlane, load: Load, log: Path, seconds: float) -> tuple[int, bool]:
    """Freezes the leader for so long; returns how often it has written afterwards, and whether it has ended."""
    leader = await find_leader(plane)
    leader.process.send_signal(signal.SIGSTOP)
    frozen_at = time.monotonic()
    await _until_served(plane, load, frozen_at)
    await asyncio.sleep(frozen_at + seconds - time.monotonic())
    woke_at = clock.now()
    leader.process.send_signal(signal.SIGCONT)
    try:
        await asyncio.to_thread(leader.process.wait, 20)
    finally:
        writes = await asyncio.to_thread(read_writes, log, leader.user)
    return sum(1 for write in writes if write.at >= woke_at), leader.process.returncode is not None


async def run_rounds(
    plane: ControlPlane, log: Path, kills: int, stops: int, frozen_seconds: float, rate: float = RATE
) -> tuple[Takeovers, Load]:
    """Runs all rounds under load."""
    found = Takeovers()
    load = Load(rate)
    async with creating(plane, load):
        await asyncio.sleep(CALM_SECONDS)
        for number in range(kills):
            found.kills.append(await time_takeover(plane, load, OperatorProgram.kill))
            print(f"  killed {number + 1}/{kills}: {found.kills[-1]:.2f} s", flush=True)
        for number in range(stops):
            found.stops.append(await time_takeover(plane, load, OperatorProgram.stop))
            print(f"  stopped {number + 1}/{stops}: {found.stops[-1]:.2f} s", flush=True)
        print(f"  frozen for {frozen_seconds:.0f} s", flush=True)
        found.deposed_writes, found.deposed_ended = await count_deposed_writes(plane, load, log, frozen_seconds)
    await until_accepted(plane, load)
    load.doubled = (await plane.read_results())["doubled"]
    return found, load


def report(found: Takeovers, load: Load) -> int:
    """Prints the table and the last line; returns 1 where it is not as promised."""
    rows = {"killed": found.kills, "stopped": found.stops}
    print_table(
        "Leader ended → a later call accepted", {name: [each * 1000 for each in row] for name, row in rows.items()}
    )
    load.tell_refusals()
    if not found.deposed_ended:
        print("  the leader that woke up has not ended")
    kill_p99, stop_p99 = percentile(found.kills, 0.99), percentile(found.stops, 0.99)
    print_result(
        {
            "takeover_kill_p50_s": percentile(found.kills, 0.5),
            "takeover_kill_p99_s": kill_p99,
            "takeover_stop_p50_s": percentile(found.stops, 0.5),
            "takeover_stop_p99_s": stop_p99,
            "lost": load.lost,
            "doubled": load.doubled,
            "deposed_writes": found.deposed_writes,
            "sessions": len(load.due),
        }
    )
    held = kill_p99 <= KILL_P99 and stop_p99 <= STOP_P99 and found.deposed_ended
    return 0 if held and not (load.lost or load.doubled or found.deposed_writes) else 1


async def measure(kills: int, stops: int, frozen_seconds: float) -> int:
    """Starts everything, and runs the rounds."""
    with scratch_folder() as folder:
        log = folder / "audit.log"
        async with running_control_plane(folder, audit_arguments(folder, log), operators=2) as plane:
            await plane.fill_pool(POOL_SIZE)
            return report(*await run_rounds(plane, log, kills, stops, frozen_seconds))


def main() -> int:
    """Runs the benchmark; returns 1 where it is not as promised."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.leader", description=__doc__)
    parser.add_argument("--kills", type=int, default=ROUNDS, help=f"leaders killed (default {ROUNDS})")
    parser.add_argument("--stops", type=int, default=ROUNDS, help=f"leaders stopped (default {ROUNDS})")
    parser.add_argument(
        "--frozen",
        type=float,
        default=FROZEN_SECONDS,
        help=f"seconds for which one is frozen (default {FROZEN_SECONDS:g})",
    )
    arguments = parser.parse_args()
    print("Starting the control plane (its first build takes minutes)", flush=True)
    return run_benchmark(measure(arguments.kills, arguments.stops, arguments.frozen))


if __name__ == "__main__":
    sys.exit(main())
