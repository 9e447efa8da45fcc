"""The control plane alone: at which rate VoiceSessions are created and each still gets its pod at once.

Everything runs on this machine: API server, etcd, scheduler, LiveKit, kwok's nodes, a server that answers for all pods,
the operator and this load. Each stage begins with a pod waiting for each of its calls, and the pool is refilled while
it runs. A VoiceSession's time begins when it was due to be created, late or not, and ends when its pod has accepted it.
Each call's agent measures its first word and three answers; with `--paired` each rate is run without that too.
"""

import argparse
import itertools
import sys
from dataclasses import dataclass

from benchmarks.control_plane import ControlPlane, running_control_plane, scratch_folder
from benchmarks.operator_program import OPERATOR
from benchmarks.processes import cpu_seconds_by_program, run_benchmark
from benchmarks.report import percentile, print_result, print_table
from benchmarks.session_load import Load, run_load
from benchmarks.stub_pods import ANSWERS

RATES = (10.0, 20.0, 30.0, 45.0)
# What agent-sandbox publishes for 45 claims a second.
P50_MILLIS, P99_MILLIS = 92, 376


@dataclass(frozen=True)
class Stage:
    """One rate: its VoiceSessions, and the CPU seconds that their lives took."""

    load: Load
    cpu_seconds: dict[str, float]  # by program
    answers: int = ANSWERS  # that each agent measures

    @property
    def name(self) -> str:
        """Returns how the tables call it."""
        return f"{self.load.rate:g}/s" + ("" if self.answers else " silent")

    @property
    def count(self) -> int:
        """Returns how many VoiceSessions there were."""
        return len(self.load.due)

    @property
    def held(self) -> bool:
        """Tells whether the rate was held."""
        millis = self.load.millis
        in_time = percentile(millis, 0.5) <= P50_MILLIS and percentile(millis, 0.99) <= P99_MILLIS
        return in_time and not self.load.lost and not self.load.doubled

    def cpu_millis(self, program: str) -> float:
        """Returns this program's CPU time for one VoiceSession's life."""
        return self.cpu_seconds.get(program, 0.0) * 1000 / self.count


async def run_stage(plane: ControlPlane, rate: float, seconds: float, answers: int) -> Stage:
    """Runs one rate: from a full pool until nothing of it is left and the pool is full again."""
    count = round(rate * seconds)
    await plane.set_answers(answers)
    print(f"\n{rate:g}/s, {answers} answers measured: filling the pool", flush=True)
    await plane.fill_pool(count + 1)
    before = cpu_seconds_by_program()
    load = await run_load(plane, rate, count, count + 1)
    after = cpu_seconds_by_program()
    return Stage(load, {name: after[name] - before.get(name, 0.0) for name in after}, answers)


def report(stages: list[Stage]) -> int:
    """Prints the tables and the last line; returns 1 where a VoiceSession was lost or had two pods."""
    loads = [stage.load for stage in stages]
    print_table("Create call → assignment accepted", {stage.name: stage.load.millis for stage in stages})
    for stage in stages:
        word = "held" if stage.held else f"not held (p50 ≤ {P50_MILLIS}, p99 ≤ {P99_MILLIS} ms, none lost or doubled)"
        print(f"  {stage.name} {word}: {stage.load.lost} lost, {stage.load.doubled} doubled")
        stage.load.tell_refusals()
    _print_cpu(stages)
    lost, doubled = sum(load.lost for load in loads), sum(load.doubled for load in loads)
    result: dict[str, object] = {
        "sustained_rate": max((stage.load.rate for stage in stages if stage.held), default=0.0),
        "lost": lost,
        "doubled": doubled,
        "cpu_ms_per_session": sum(stage.cpu_seconds[OPERATOR] for stage in stages)
        * 1000
        / sum(stage.count for stage in stages),
    }
    for stage in stages:
        rate = f"{stage.load.rate:g}" + ("" if stage.answers else "_silent")
        result[f"p50_ms_at_{rate}"] = percentile(stage.load.millis, 0.5)
        result[f"p99_ms_at_{rate}"] = percentile(stage.load.millis, 0.99)
        result[f"cpu_ms_per_session_at_{rate}"] = stage.cpu_millis(OPERATOR)
    print_result(result)
    return 1 if lost or doubled else 0


def _print_cpu(stages: list[Stage]) -> None:
    print("\n  CPU for a VoiceSession's whole life, its pod's refill included [ms]")
    print(f"  {'':<24}" + "".join(f"{stage.name:>14}" for stage in stages))
    for program in sorted({name for stage in stages for name in stage.cpu_seconds}):
        print(f"  {program:<24}" + "".join(f"{stage.cpu_millis(program):>14.1f}" for stage in stages))


async def measure(rates: list[float], seconds: float, *, paired: bool) -> int:
    """Runs all stages, the slowest first."""
    stages = itertools.product(sorted(rates), (0, ANSWERS) if paired else (ANSWERS,))
    with scratch_folder() as folder:
        async with running_control_plane(folder) as plane:
            return report([await run_stage(plane, rate, seconds, answers) for rate, answers in stages])


def main() -> int:
    """Runs the benchmark; returns 1 where a VoiceSession was lost or had two pods."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.claims", description=__doc__)
    parser.add_argument(
        "--rates", type=float, nargs="+", default=list(RATES), help="VoiceSessions a second (default 10 20 30 45)"
    )
    parser.add_argument("--seconds", type=float, default=60, help="for how long each (default 60)")
    parser.add_argument("--paired", action="store_true", help="run each rate also with agents that measure nothing")
    arguments = parser.parse_args()
    print("Starting the control plane (its first build takes minutes)", flush=True)
    return run_benchmark(measure(arguments.rates, arguments.seconds, paired=arguments.paired))


if __name__ == "__main__":
    sys.exit(main())
